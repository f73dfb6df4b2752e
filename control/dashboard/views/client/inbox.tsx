/**
 * The inbox of a client: its summary, a page of its pushes, and a payload where that is permitted.
 */
import { useState } from 'preact/hooks';
import type { InboxListResponse, PayloadResponse } from '../../../operator/clients/responses.js';
import type { InboxResponse } from '../../../operator/cluster-responses.js';
import { Action } from '../../action.js';
import { bytes, dateTime, duration, number, UNKNOWN } from '../../format.js';
import { useFeed } from '../../live.js';
import { Badge, Card, Fact, Facts, Loaded, Note } from '../../parts.js';

const PAGE = 20;
const POLL_MS = 3_000;

interface InboxProps {
  readonly clientId: string;
  readonly inbox: InboxResponse | null;
}

export function Inbox({ clientId, inbox }: InboxProps) {
  if (inbox === null) {
    return (
      <Card title="Inbox">
        <Note level="bad">Redis does not answer: the inbox is unknown.</Note>
      </Card>
    );
  }
  const { count, confirmedId, newestId, goneId } = inbox;
  const side = count === 0 ? 'empty' : `${number(count)} ${count === 1 ? 'push' : 'pushes'}`;
  return (
    <Card title="Inbox" side={<Badge level="dim">{side}</Badge>}>
      <Facts>
        <Fact name="Stored" title="Payload bytes">
          {number(count)} <small>{bytes(inbox.bytes)}</small>
        </Fact>
        <Fact name="Cursor" title="Everything up to this id is confirmed">
          <code>{confirmedId ?? UNKNOWN}</code>
        </Fact>
        <Fact name="Newest id">
          <code>{newestId ?? UNKNOWN}</code>
        </Fact>
      </Facts>
      {goneId !== null && (
        <Note level="warn">
          Pushes up to <code>{goneId}</code> left the inbox unconfirmed: expired, over a bound, or
          skipped.
        </Note>
      )}
      {count > 0 && <Pushes clientId={clientId} />}
    </Card>
  );
}

function Pushes({ clientId }: { clientId: string }) {
  const [after, setAfter] = useState('');
  const [payload, setPayload] = useState<PayloadResponse>();
  const query = `limit=${PAGE}${after && `&after=${after}`}`;
  const path = `v1/inboxes/${encodeURIComponent(clientId)}?${query}`;
  const page = useFeed<InboxListResponse>(path, POLL_MS);
  return (
    <Loaded feed={page}>
      {({ pushes, next }) => (
        <>
          {pushes.length === 0 ? (
            <Note>The pushes of this page have left the inbox.</Note>
          ) : (
            <PushTable clientId={clientId} pushes={pushes} onPayload={setPayload} />
          )}
          <nav class="pages" aria-label="Pages of the inbox">
            {after !== '' && (
              <button type="button" onClick={() => setAfter('')}>
                Oldest
              </button>
            )}
            {next !== null && (
              <button type="button" onClick={() => setAfter(next)}>
                Newer
              </button>
            )}
          </nav>
          {payload && <Payload {...payload} />}
        </>
      )}
    </Loaded>
  );
}

interface PushTableProps extends Pick<InboxListResponse, 'pushes'> {
  readonly clientId: string;
  readonly onPayload: (payload: PayloadResponse) => void;
}

function PushTable({ clientId, pushes, onPayload }: PushTableProps) {
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th>Id</th>
            <th class="right">Size</th>
            <th class="right">Age</th>
            <th class="right">TTL left</th>
            <th>Type</th>
            <th>
              <span class="hidden">Payload</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {pushes.map(({ messageId, bytes: size, ageMs, ttlMs, contentType }) => (
            <tr key={messageId}>
              <td title={dateTime(Number(messageId.split('-', 1)[0]))}>
                <code>{messageId}</code>
              </td>
              <td class="right">{bytes(size)}</td>
              <td class="right">{duration(Math.max(0, ageMs))}</td>
              <td class="right">{ttlMs > 0 ? duration(ttlMs) : 'expired'}</td>
              <td>{contentType || UNKNOWN}</td>
              <td class="right">
                <Action
                  label="Read"
                  title={`Read the payload of ${messageId}?`}
                  path="v1/payload"
                  body={{ clientId, messageId }}
                  needs="payload"
                  onDone={(answer) => onPayload(answer as PayloadResponse)}
                >
                  <p>The event log says that you have read it.</p>
                </Action>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Payload({ messageId, bytes: size, text, base64 }: PayloadResponse) {
  const shown = text ?? base64;
  return (
    <figure>
      <figcaption class="hint">
        Payload of <code>{messageId}</code>, {bytes(size)}
        {text === null && ', in base64'}
        {size > 65_536 && ', its first 65,536 bytes'}
      </figcaption>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls. */}
      <pre tabIndex={0}>{shown || '(empty)'}</pre>
    </figure>
  );
}
