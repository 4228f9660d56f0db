// The museum's entries, second part (test/support/museum.ts).
import { museumTests } from './support/museum.ts';

museumTests(10, 28);
