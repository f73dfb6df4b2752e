/** `longline push`: one push to a client or a user, and its verdicts. */

import { flightRecordOf } from '../../../common/http/flight-steps.js';
import {
  AcceptLevel,
  PushRequest,
  type PushResponse,
  PushUserRequest,
  type PushUserResponse,
  Verdict,
  WaitFor,
} from '../../../proto/gen/longline/v1/push.js';
import { flightTable } from './flight-table.js';
import { CALL_SLACK_MS, callRouter, type RouterOptions, readPayload } from './router-call.js';
import { type WHENS_SLOW, whenSlowOf } from './when-slow.js';

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
  readonly collapseKey?: string;
  readonly appendTo?: string;
  /** Whether the payload ends the message of `appendTo`. */
  readonly appendEnd?: boolean;
  /** Milliseconds after which an event says that the push is unread. */
  readonly notifyUnreadAfter?: number;
  readonly whenSlow?: keyof typeof WHENS_SLOW;
  /** Whether to print the steps of the push. */
  readonly trace?: boolean;
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
  const { trace: flightRecord = false } = options;
  const push = await pushOf(payload, options);
  const request = PushRequest.fromPartial({ clientId, flightRecord, ...push });
  const response = await callRouter<PushResponse>(
    options,
    request.waitMs + CALL_SLACK_MS,
    (client, ...rest) => client.push(request, ...rest),
  );
  const line = describe(response);
  console.log(options.json ? JSON.stringify({ clientId, ...line }) : textOf(line));
  if (line.flightRecord && !options.json) console.log(flightTable(line.flightRecord));
  return hasHappened(response, options) ? 0 : 1;
}

/**
 * Prints the verdict of each device and returns the exit status: 0 when what was waited for has
 * happened for all.
 * @param payload `-` reads standard input
 * @throws Failure when the router rejects or cannot be reached
 */
export async function pushToUser(
  user: string,
  payload: string,
  options: PushOptions,
): Promise<number> {
  const push = await pushOf(payload, options);
  const { trace: flightRecord = false } = options;
  const request = PushUserRequest.fromPartial({ user, flightRecord, ...push, listDevices: true });
  const { devices } = await callRouter<PushUserResponse>(
    options,
    request.waitMs + CALL_SLACK_MS,
    (client, ...rest) => client.pushUser(request, ...rest),
  );
  const lines = devices.map(({ clientId, outcome }) => ({
    clientId,
    ...(outcome?.$case === 'push' ? describe(outcome.value) : { failure: outcome?.value }),
  }));
  if (options.json) console.log(JSON.stringify({ user, devices: lines }));
  else {
    for (const line of lines) {
      const result =
        'verdict' in line ? textOf(line) : `${line.failure?.code}: ${line.failure?.message}`;
      console.log(`${line.clientId}  ${result}`);
      if ('flightRecord' in line && line.flightRecord) console.log(flightTable(line.flightRecord));
    }
  }
  const isDone = devices.every(
    ({ outcome }) => outcome?.$case === 'push' && hasHappened(outcome.value, options),
  );
  return isDone ? 0 : 1;
}

/** The fields of a push, without the client or user. */
export async function pushOf(payload: string, options: PushOptions) {
  const { wait: waitMs = 0, ttl: ttlMs, contentType = '', idempotencyKey = '' } = options;
  const { collapseKey = '', appendTo = '', appendEnd = false } = options;
  const level = options.acceptLevel;
  return {
    ...{ collapseKey, appendTo, appendEnd },
    payload: await readPayload(payload),
    contentType,
    waitMs,
    waitFor: WAITS[options.waitFor].waitFor,
    ttlMs,
    idempotencyKey,
    whenSlow: whenSlowOf(options),
    acceptLevel: level === undefined ? AcceptLevel.ACCEPT_LEVEL_UNSPECIFIED : LEVELS[level.level],
    replicas: level?.replicas ?? 0,
    notifyUnreadAfterMs: options.notifyUnreadAfter ?? 0,
  };
}

function describe(response: PushResponse) {
  const { verdict, messageId, acceptLevel, replacedId } = response;
  return {
    verdict: Verdict[verdict]?.replace('VERDICT_', '') ?? `verdict ${verdict}`,
    messageId: messageId || null,
    ...(replacedId !== '' && { replacedId }),
    acceptLevel: Object.entries(LEVELS).find(([, value]) => value === acceptLevel)?.[0] ?? null,
    ...flightRecordOf(response.flightRecord),
  };
}

function textOf({ verdict, messageId, replacedId }: ReturnType<typeof describe>): string {
  const replaced = replacedId === undefined ? '' : `  replaced ${replacedId}`;
  return `${verdict}  ${messageId ?? 'no id'}${replaced}`;
}

function hasHappened({ verdict }: PushResponse, { waitFor }: PushOptions): boolean {
  return (WAITS[waitFor].verdicts as readonly Verdict[]).includes(verdict);
}
