/**
 * Lists of those that may not connect: blocked clients and users, and users whose tokens are
 * revoked.
 */
import type { RevocationsResponse } from '../../operator/clients/responses.js';
import type { BlocksResponse } from '../../operator/operation-responses.js';
import { Action } from '../action.js';
import { dateTime, duration } from '../format.js';
import { useFeed } from '../live.js';
import { Card, Loaded, Note } from '../parts.js';
import { clientPath } from './client-table.js';

const POLL_MS = 5_000;

export function Blocks() {
  const blocks = useFeed<BlocksResponse>('v1/blocks', POLL_MS);
  return (
    <Card title="Blocked">
      <Loaded feed={blocks}>
        {({ blocks: all }) =>
          all.length === 0 ? (
            <Note>No client and no user is blocked.</Note>
          ) : (
            <ul class="restrictions">
              {all.map(({ name, remainingMs }) => (
                <li key={name}>
                  <a class="client-id" href={clientPath(name)}>
                    {name}
                  </a>
                  <span>{duration(remainingMs)} left</span>
                  <Action
                    label="Unblock"
                    title={`Unblock ${name}?`}
                    path="v1/unblock"
                    body={{ name }}
                  >
                    <p>It may connect again.</p>
                  </Action>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </Card>
  );
}

export function Revocations() {
  const revocations = useFeed<RevocationsResponse>('v1/revocations', POLL_MS);
  return (
    <Card title="Revoked tokens">
      <Loaded feed={revocations}>
        {({ revocations: all }) =>
          all.length === 0 ? (
            <Note>No tokens are revoked.</Note>
          ) : (
            <ul class="restrictions">
              {all.map(({ user, beforeMs }) => (
                <li key={user}>
                  {user === '' ? (
                    <b>all users</b>
                  ) : (
                    <a class="client-id" href={clientPath(user)}>
                      {user}
                    </a>
                  )}
                  <span>issued before {dateTime(beforeMs)}</span>
                  <Action
                    label="Accept again"
                    title={`Accept the tokens of ${user || 'all users'} again?`}
                    path="v1/unrevoke"
                    body={{ user }}
                  >
                    <p>They are valid again until they expire.</p>
                  </Action>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </Card>
  );
}
