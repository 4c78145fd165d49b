/** What kernels of one subgroup per workgroup, free of barriers, have in common. */
import type { Target } from "../../runtime/kernel.ts";

/** Whether such kernels do the work: on software adapters whose subgroups have one size. */
export const usesSubgroups = ({ software, lanes }: Target): boolean => software && lanes > 0;

/** Paste first: a workgroup is one subgroup, so that control flow which is uniform in the one is in the other. */
export const SUBGROUPS = `enable subgroups;
diagnostic(off, subgroup_uniformity);`;
