/** The part of a call to many clients that all of its pushes share. */
import type { TraceBody } from '../../../proto/gen/longline/v1/envelope.js';
import type { PushRequest } from '../../../proto/gen/longline/v1/push.js';
import type { Tally } from './tally.js';

export interface ManyPush {
  readonly common: Omit<PushRequest, 'clientId'>;
  /** When the response must be ready, in ms of the monotonic clock. */
  readonly answerByMs: number;
  readonly tally: Tally;
  /** Whether operators see the pushes among those to each of the clients. */
  readonly isRemembered: boolean;
  /** For messages to several clients. */
  readonly trace: TraceBody | undefined;
}
