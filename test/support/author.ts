// A driver author's folder, outside of this project and of any node_modules.

import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class AuthorFolder {
  readonly path = realpathSync(mkdtempSync(join(tmpdir(), 'author-')));

  /** Writes a file; returns its path. */
  file(name: string, text: string): string {
    const path = join(this.path, name);
    writeFileSync(path, text);
    return path;
  }

  /** The folder's name taken out of a message. */
  shown(text: string): string {
    return text.replaceAll(`${this.path}/`, '');
  }

  close(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
