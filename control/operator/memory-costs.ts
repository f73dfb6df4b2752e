/** Memory of an edge by part: meaning and cost per connection. */
import type { MemoryPart } from '../../proto/gen/longline/v1/edge_session.js';
import type { MemoryCost } from './cluster-responses.js';

const MEANINGS: Readonly<Record<string, string>> = {
  'kernel/TCP': 'kernel: the socket with its TCP state',
  'kernel/sock_inode_cache': 'kernel: the inode of the socket',
  'kernel/dentry': 'kernel: the name of that inode',
  'kernel/filp': 'kernel: the open file',
  'kernel/eventpoll_epi': 'kernel: the entry in the epoll descriptor of the edge',
  'kernel/ep_head': 'kernel: the reference from the file to that entry',
  'kernel/buffers': 'kernel: bytes in transit, an even share of all TCP buffers of the machine',
  slots: 'native transport: one slot per connection, reused',
  send_buffers: 'transport: bytes that peers have not read and the kernel has not accepted',
  'tls_1.2': 'native transport: state that OpenSSL keeps of TLS 1.2, an estimate',
  'tls_1.3': 'native transport: keys of TLS 1.3, and incomplete records',
  table: 'arrays of the edge with an entry per connection',
  heap_used: 'JavaScript objects: clientIds and their maps, and garbage that is not collected yet',
  heap_free: 'free space on the JavaScript heap',
  other: 'Node, V8 and libraries: code, stacks, buffers of Redis and gRPC',
};

/** Resident memory of the process: all parts but those of the kernel. Undefined: unknown. */
export function residentBytes(parts: readonly MemoryPart[] = []): number | undefined {
  const own = parts.filter(({ name }) => !name.startsWith('kernel/'));
  return own.length === 0 ? undefined : own.reduce((sum, { bytes }) => sum + bytes, 0);
}

export function memoryCosts(parts: readonly MemoryPart[], connections: number): MemoryCost[] {
  return parts.map(({ name, bytes, bytesAtStart }) => ({
    name,
    bytes,
    bytesPerConnection:
      connections === 0 ? 0 : Math.round((10 * (bytes - bytesAtStart)) / connections) / 10,
    meaning: MEANINGS[name] ?? 'unknown to this control: the edge is a newer version',
  }));
}
