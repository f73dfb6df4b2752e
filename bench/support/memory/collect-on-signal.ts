/**
 * Module to be loaded into a measured process (`node --import`). On SIGUSR2 the process collects
 * its garbage and returns nearly empty pages, so that its memory then is what it really holds. V8
 * does the same after half a minute without activity ("reduce" in `--trace-gc`), too long for a
 * bench to wait.
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
