// Sizes and variants of an ARM SMMUv3 with shared virtual addressing.

export interface ArmSmmuConfig {
  /** TLBI by range (SMMUv3.2, FEAT_RIL): one command for up to 31 * 2^scale pages. Without it a command invalidates one page. */
  readonly hasRangeInvalidation: boolean;
  /** CMDQ_MAX_TLBI_OPS: without range commands, from so many pages on the whole ASID goes instead: 1 << (12 - 3). */
  readonly tlbiOpsMax: number;
  /** Name of a mistake (mistakes.ts); '' = none. */
  readonly mistake: string;
}

export const ARM_SMMU_DEFAULTS: ArmSmmuConfig = { hasRangeInvalidation: true, tlbiOpsMax: 512, mistake: '' };
