/** Connected clients as a table. */
import type { ComponentChildren } from 'preact';
import type { ClientInfo } from '../../operator/clients/responses.js';
import { bytes, dateTime, duration, number, UNKNOWN } from '../format.js';
import { Badge, Note } from '../parts.js';

/** The number with which control stands for more. */
const COUNT_MAX = 65_535;

export const clientPath = (clientId: string) => `#/clients/${encodeURIComponent(clientId)}`;

interface ClientTableProps {
  readonly clients: readonly ClientInfo[];
  /** A further column. */
  readonly last: readonly [title: string, of: (client: ClientInfo) => ComponentChildren];
}

export function ClientTable({ clients, last: [title, of] }: ClientTableProps) {
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th>Client</th>
            <th>Edge</th>
            <th>Over</th>
            <th class="right">For</th>
            <th class="right" title="Bytes that wait because the device does not read">
              Waiting
            </th>
            <th class="right" title="Durable pushes written since it last confirmed one">
              Unconfirmed
            </th>
            <th class="right" title="Live-only pushes dropped because bytes were waiting">
              Dropped
            </th>
            <th>{title}</th>
          </tr>
        </thead>
        <tbody>
          {clients.map((client) => (
            <tr key={`${client.edgeId} ${client.clientId}`}>
              <td>
                <a class="client-id" href={clientPath(client.clientId)}>
                  {client.clientId}
                </a>
              </td>
              <td>
                <a href={`#/edges/${client.edgeId}`}>{client.edgeId}</a>{' '}
                {client.guest && <Badge level="warn">guest</Badge>}
              </td>
              <td>{client.protocol}</td>
              <td class="right" title={`Since ${dateTime(client.connectedAtMs)}`}>
                {duration(client.connectedForMs)}
              </td>
              <td class="right">{bytes(client.bytesWaiting)}</td>
              <td class="right">{bounded(client.unconfirmed)}</td>
              <td class="right">{bounded(client.dropped)}</td>
              <td class="text">{of(client) || UNKNOWN}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function bounded(count: number): string {
  return `${number(count)}${count === COUNT_MAX ? ' or more' : ''}`;
}

export function SilentEdges({ ids }: { ids: readonly string[] }) {
  if (ids.length === 0) return null;
  return (
    <Note level="warn">No answer in time, so their clients are missing: {ids.join(', ')}</Note>
  );
}
