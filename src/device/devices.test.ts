import { expect, test } from 'vitest';
import { InputError } from '../base/assert.ts';
import { DESIGN_VARIANTS, DESIGNS } from '../notifier/designs.ts';
import { createMachine } from '../system/machine.ts';
import { DEVICES, deviceInfo } from './devices.ts';

test('each device has a name of its own, and drivers for designs that exist', () => {
  expect(new Set(DEVICES.map((d) => d.name)).size).toBe(DEVICES.length);
  const designs = new Set([...DESIGNS, ...DESIGN_VARIANTS].map((d) => d.name));
  for (const d of DEVICES) expect(Object.keys(d.designs).filter((name) => !designs.has(name))).toEqual([]);
});

test('an unknown device is one clear line', () => {
  expect(() => deviceInfo('nvlink')).toThrow(InputError);
  expect(() => createMachine({ design: 'linux-6.1', device: { device: 'nvlink' } })).toThrow(/"nvlink" is not one of/);
});
