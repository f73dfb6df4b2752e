/**
 * Loaded into a process that is measured (`node --import`): on SIGUSR2 it collects its garbage, so
 * that what is counted then is what is held.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
setFlagsFromString('--no-expose-gc');

process.on('SIGUSR2', () => {
  collect();
  collect();
});
