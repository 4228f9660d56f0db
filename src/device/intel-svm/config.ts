// Sizes and variants of an Intel IOMMU with shared virtual memory.

export interface IntelSvmConfig {
  /** One block that covers the range (Linux 6.12), not equal blocks (before). null: as the kernel of the design did it. */
  readonly hasCoveringBlocks: boolean | null;
  /** Largest address mask that the hardware takes (MAMV): 2^18 pages, a gigabyte. */
  readonly addressMaskMax: number;
  /** Name of a mistake (mistakes.ts); '' = none. */
  readonly mistake: string;
}

export const INTEL_SVM_DEFAULTS: IntelSvmConfig = { hasCoveringBlocks: null, addressMaskMax: 18, mistake: '' };
