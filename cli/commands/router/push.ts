/** `longline push`: one push to one client, and its verdict. */
import {
  AcceptLevel,
  PushRequest,
  type PushResponse,
  Verdict,
  WaitFor,
} from '../../../proto/gen/longline/v1/push.js';
import { CALL_SLACK_MS, callRouter, type RouterOptions, readPayload } from './router-call.js';

export interface PushOptions extends RouterOptions {
  /** Milliseconds that the router waits for the verdict. Undefined: the router's default. */
  readonly wait?: number;
  readonly waitFor: keyof typeof WAITS;
  readonly acceptLevel?: RequestedLevel;
  /** TTL in milliseconds; 0: live only. Undefined: the router's default. */
  readonly ttl?: number;
  /** Forwarded to devices whose protocol can express it. */
  readonly contentType?: string;
  readonly idempotencyKey?: string;
}

export interface RequestedLevel {
  readonly level: 'accepted' | 'fsynced' | 'replicated';
  /** 0 for the other levels. */
  readonly replicas: number;
}

const LEVELS = {
  accepted: AcceptLevel.ACCEPT_LEVEL_ACCEPTED,
  fsynced: AcceptLevel.ACCEPT_LEVEL_FSYNCED,
  replicated: AcceptLevel.ACCEPT_LEVEL_REPLICATED,
} as const;

const { VERDICT_WRITTEN, VERDICT_STORED, VERDICT_DUPLICATE, VERDICT_ACKED } = Verdict;

/** The value of `wait_for`, and the verdicts with which its event has happened. */
const WAITS = {
  written: { waitFor: WaitFor.WAIT_FOR_WRITTEN, verdicts: [VERDICT_WRITTEN, VERDICT_ACKED] },
  stored: {
    waitFor: WaitFor.WAIT_FOR_STORED,
    verdicts: [VERDICT_STORED, VERDICT_DUPLICATE, VERDICT_WRITTEN, VERDICT_ACKED],
  },
  acked: { waitFor: WaitFor.WAIT_FOR_ACKED, verdicts: [VERDICT_ACKED] },
} as const;

/**
 * Prints the verdict and returns the exit status: 0 when what was waited for has happened.
 * @param payload `-` reads standard input
 * @throws Failure when the router rejects or cannot be reached
 */
export async function push(
  clientId: string,
  payload: string,
  options: PushOptions,
): Promise<number> {
  const { wait: waitMs = 0, ttl: ttlMs, contentType = '', idempotencyKey = '' } = options;
  const { waitFor, verdicts } = WAITS[options.waitFor];
  const level = options.acceptLevel;
  const request = PushRequest.fromPartial({
    clientId,
    payload: await readPayload(payload),
    contentType,
    waitMs,
    waitFor,
    ttlMs,
    idempotencyKey,
    acceptLevel: level === undefined ? AcceptLevel.ACCEPT_LEVEL_UNSPECIFIED : LEVELS[level.level],
    replicas: level?.replicas ?? 0,
  });
  const { verdict, messageId, acceptLevel } = await callRouter<PushResponse>(
    options,
    waitMs + CALL_SLACK_MS,
    (client, ...rest) => client.push(request, ...rest),
  );
  const word = Verdict[verdict]?.replace('VERDICT_', '') ?? `verdict ${verdict}`;
  const reached = Object.entries(LEVELS).find(([, value]) => value === acceptLevel)?.[0] ?? null;
  console.log(
    options.json
      ? JSON.stringify({
          clientId,
          verdict: word,
          messageId: messageId || null,
          acceptLevel: reached,
        })
      : `${word}  ${messageId || 'no id'}`,
  );
  return (verdicts as readonly Verdict[]).includes(verdict) ? 0 : 1;
}
