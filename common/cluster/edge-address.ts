/** The address at which our own processes connect to an edge's device port. */
import { type HostPort, hostPortOf, parseHostPort } from '../net/host-port.js';
import type { EdgeIdentity } from './assignment.js';

type Addresses = Pick<EdgeIdentity, 'advertisedUrl' | 'frontAddress'>;

export function devicePortOf({ advertisedUrl, frontAddress }: Addresses): HostPort {
  const front = frontAddress === undefined ? undefined : parseHostPort(frontAddress);
  return front ?? hostPortOf(advertisedUrl);
}
