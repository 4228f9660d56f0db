// shootdown init NAME: a folder with a correct driver to begin with.

import { Command } from 'commander';
import { INIT_DESIGNS, type InitDesign, type InitDevice, initDriver } from '../author/init.ts';
import { wordOption } from './options.ts';

interface Options {
  design: InitDesign;
  device: InitDevice;
  js?: boolean;
}

export function initCommand(setStatus: (status: number) => void): Command {
  const devices = ['walker', 'mirror'] as const;
  return new Command('init')
    .description('write a folder with a correct driver to begin with, its check as a test, and a scenario')
    .argument('<name>', 'of the driver, and of the folder that is made')
    .option(
      '--design <name>',
      `notifier design: ${INIT_DESIGNS.join(', ')}`,
      wordOption('--design', INIT_DESIGNS),
      'linux-6.1',
    )
    .option(
      '--device <kind>',
      'walker: an IOMMU that walks the page table of the CPUs. mirror: a device with a table of its own',
      wordOption('--device', devices),
      'walker',
    )
    .option('--js', 'JavaScript instead of TypeScript')
    .action(async (path: string, options: Options) => {
      const files = await initDriver(path, { ...options, isJs: options.js === true });
      process.stdout.write(`${files.map((file) => `wrote ${path}/${file}`).join('\n')}\n\n`);
      process.stdout.write(`Next: cd ${path} && npm install && npm run check\n`);
      setStatus(0);
    });
}
