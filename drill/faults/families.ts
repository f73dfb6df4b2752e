/** Families of faults beside the basic ones, and what each needs of this machine. */
import { redisClockObstacle } from '../clock/redis-clock.js';
import { memoryObstacle } from '../memory/cgroups.js';
import { networkObstacle } from '../network/namespace.js';
import { type Family, optionOf } from './kinds/fault-kind.js';

/** As given on the command line. */
export interface ChosenFamilies {
  readonly network?: boolean;
  readonly clocks?: boolean;
  readonly redisFaults?: boolean;
  readonly memory?: boolean;
}

interface Choice {
  readonly family: Family;
  readonly isChosen: (options: ChosenFamilies) => boolean | undefined;
  /** Why the family is not possible on this machine; undefined if it is. */
  readonly obstacle: () => Promise<string | undefined>;
}

const NO_OBSTACLE = async () => undefined;

const CHOICES: readonly Choice[] = [
  { family: 'network', isChosen: ({ network }) => network, obstacle: networkObstacle },
  { family: 'clocks', isChosen: ({ clocks }) => clocks, obstacle: NO_OBSTACLE },
  { family: 'clocks of Redis', isChosen: ({ clocks }) => clocks, obstacle: redisClockObstacle },
  { family: 'redis-faults', isChosen: ({ redisFaults }) => redisFaults, obstacle: NO_OBSTACLE },
  { family: 'memory', isChosen: ({ memory }) => memory, obstacle: memoryObstacle },
];

/** The chosen families that are possible here, and a line for each that is not. */
export async function chooseFamilies(
  options: ChosenFamilies,
): Promise<{ families: Family[]; skipped: string[] }> {
  const families: Family[] = [];
  const skipped: string[] = [];
  for (const { family, isChosen, obstacle } of CHOICES) {
    if (!isChosen(options)) continue;
    const reason = await obstacle();
    if (reason === undefined) families.push(family);
    else skipped.push(`${family} (${optionOf(family)}) is skipped: ${reason}`);
  }
  return { families, skipped };
}
