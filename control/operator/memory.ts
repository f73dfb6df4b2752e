/** What the parts of an edge's memory mean, and what they are per connection. */
import type { MemoryPart } from '../../proto/gen/longline/v1/edge_session.js';
import type { MemoryCost } from './answers.js';

const MEANINGS: Readonly<Record<string, string>> = {
  'kernel/TCP': 'the kernel: the socket with its TCP state',
  'kernel/sock_inode_cache': 'the kernel: the inode that makes a file of the socket',
  'kernel/dentry': 'the kernel: the name of that inode',
  'kernel/filp': 'the kernel: the open file',
  'kernel/eventpoll_epi': 'the kernel: the watch of the edge’s epoll descriptor',
  'kernel/ep_head': 'the kernel: the way back from the file to the watch',
  'kernel/buffers':
    'the kernel: bytes on their way, an even share of all TCP buffers of the machine',
  slots: 'the native transport: one slot per connection, used again',
  send_buffers: 'the transport: what peers have not read and the kernel has not taken',
  table: 'arrays of the edge with an entry per connection',
  heap_used:
    'objects of JavaScript: clientIds and the maps to find them, and garbage not collected yet',
  heap_free: 'room on the heap of JavaScript, kept for its next objects',
  other: 'Node, V8 and libraries: code, stacks, buffers of Redis and gRPC',
};

export function memoryCosts(parts: readonly MemoryPart[], connections: number): MemoryCost[] {
  return parts.map(({ name, bytes, bytesAtStart }) => ({
    name,
    bytes,
    bytesPerConnection:
      connections === 0 ? 0 : Math.round((10 * (bytes - bytesAtStart)) / connections) / 10,
    meaning: MEANINGS[name] ?? 'this control does not know the part: the edge is newer',
  }));
}
