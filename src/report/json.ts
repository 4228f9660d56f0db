// The comparison for machines. Field names are those of ComparisonRow; numbers stay numbers.

import type { ComparisonRow } from './rows.ts';

/** Version of the layout; rises when a field changes its meaning or goes. */
export const REPORT_VERSION = 1;

export interface JsonReport {
  readonly version: number;
  readonly facts: Readonly<Record<string, string | number | boolean | null>>;
  readonly designs: readonly ComparisonRow[];
}

/** The report as JSON text with a final newline. */
export function jsonReport(facts: JsonReport['facts'], rows: readonly ComparisonRow[]): string {
  const report: JsonReport = { version: REPORT_VERSION, facts, designs: rows };
  return `${JSON.stringify(report, null, 2)}\n`;
}
