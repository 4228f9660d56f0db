import { Command } from 'commander';
export function compareCommand(_setStatus: (status: number) => void): Command {
  return new Command('compare');
}
