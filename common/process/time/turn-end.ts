/**
 * The end of a turn of the event loop, when what the turn has gathered is sent. One list for the
 * whole process: what is gathered at the end of a turn, such as commands to Redis for gathered
 * replies, is sent in that same turn, and not after another pass of the loop.
 */
const work: (() => void)[] = [];

/** Runs `send` at the end of this turn, after what was added before it. It may add more. */
export function atTurnEnd(send: () => void): void {
  if (work.push(send) === 1) setImmediate(runAll);
}

function runAll(): void {
  for (let i = 0; i < work.length; i++) work[i]!();
  work.length = 0;
}
