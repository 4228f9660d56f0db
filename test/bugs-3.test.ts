// The museum's entries, third part (test/support/museum.ts).
import { museumTests } from './support/museum.ts';

museumTests(28, 100);
