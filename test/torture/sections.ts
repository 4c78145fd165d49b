/** All that `npm run torture` does. */
import { aborts } from "./aborts.ts";
import { callbacks } from "./callbacks.ts";
import { calls } from "./calls.ts";
import { disks } from "./disks.ts";
import type { Section } from "./harness.ts";
import { kills } from "./kills.ts";
import { losses } from "./losses.ts";
import { soak } from "./soak.ts";

export const sections: readonly Section[] = [kills, disks, losses, aborts, calls, callbacks, soak];
