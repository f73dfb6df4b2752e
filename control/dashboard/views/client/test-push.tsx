/** Pushes a test message to a client, and says what became of it. */
import type { PushResponse } from '../../../operator/clients/responses.js';
import { Action } from '../../action.js';
import { duration } from '../../format.js';
import { Badge, type Level, Note } from '../../parts.js';

/** Handed over, kept, dropped. */
export const VERDICT_LEVELS: Readonly<Record<string, Level>> = {
  WRITTEN: 'good',
  ACKED: 'good',
  STORED: 'accent',
  REPLACED: 'dim',
  DUPLICATE: 'dim',
  OFFLINE: 'warn',
  SLOW: 'warn',
  DROPPED: 'warn',
  SKIPPED: 'warn',
  UNKNOWN: 'bad',
};

/** Verdicts of a test message. */
const MEANINGS: Readonly<Record<string, string>> = {
  WRITTEN: 'handed to the socket of the device',
  OFFLINE: 'it is not connected, so the message was dropped',
  DROPPED: 'it does not read, so the message was dropped; its connection stays',
  UNKNOWN: 'not every edge answered in time: it may or may not have been written',
};

interface TestPushProps {
  readonly clientId: string;
  readonly onVerdict: (answer: PushResponse) => void;
}

export function TestPush({ clientId, onVerdict }: TestPushProps) {
  return (
    <Action
      label="Push a test message"
      title={`Push a test message to ${clientId}?`}
      path="v1/push"
      body={{ clientId }}
      onDone={(answer) => onVerdict(answer as PushResponse)}
    >
      <p>
        The application on the device receives it like any push, now or never: it is not stored.
      </p>
      <label>
        Payload
        <textarea name="payloadText" rows={3} maxLength={2_048} required>
          {'{"test":true}'}
        </textarea>
      </label>
      <label>
        Content type
        <input name="contentType" maxLength={128} defaultValue="application/json" />
      </label>
    </Action>
  );
}

export function PushResult({ verdict, ms }: PushResponse) {
  const level = VERDICT_LEVELS[verdict] ?? 'dim';
  return (
    <Note level={level}>
      The test message: <Badge level={level}>{verdict}</Badge> after {duration(ms)},{' '}
      {MEANINGS[verdict]}.
    </Note>
  );
}
