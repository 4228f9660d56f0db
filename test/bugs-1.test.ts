// The museum's entries, first part (test/support/museum.ts).
import { museumTests } from './support/museum.ts';

museumTests(1, 10);
