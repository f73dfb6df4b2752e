/** Stands where the steering of moves will be: nothing is on its way, and every order is refused. */
import { refusal } from '../../common/errors.js';
import type { Steering } from '../steering.js';

const refuse = () => refusal('NOT_READY', 'this control cannot move shards yet');

export const nothingMoves: Steering = {
  moves: () => ({
    inFlight: [],
    waiting: 0,
    isPaused: false,
    frozenUntilMs: undefined,
    perSecond: 0,
    why: 'nothing-to-do',
    secondsLeft: undefined,
    drains: [],
  }),
  plan: refuse,
  rebalance: refuse,
  pause: refuse,
  resume: refuse,
  abort: refuse,
  setIntent: refuse,
  believe: refuse,
  eventsAfter: () => [],
  watchEvents: () => () => {},
};
