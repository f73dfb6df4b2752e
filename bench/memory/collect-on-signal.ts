/**
 * Loaded into a process that is measured (`node --import`): on SIGUSR2 it collects its garbage and
 * gives back pages that are nearly empty, so that what is counted then is what is held. V8 does the
 * same by itself when a process has been calm for half a minute ("reduce" in `--trace-gc`), for which
 * a bench would wait long.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
setFlagsFromString('--no-expose-gc');

process.on('SIGUSR2', () => {
  setFlagsFromString('--compact-on-every-full-gc');
  collect();
  collect();
  setFlagsFromString('--no-compact-on-every-full-gc');
});
