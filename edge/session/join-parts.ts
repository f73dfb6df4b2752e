/** Joins stored parts of growing messages, so that a device gets one push instead of many. Pure. */
import type { InboxEntry } from '../../common/cluster/history/inbox-read.js';

/** A longer message is delivered in several pushes. */
const JOINED_BYTES_MAX = 64 * 1024;

/**
 * Returns the entries in their order; parts of one message that follow one another, in the inbox
 * and in the message, are one, with the id of the last. Never across another push: the cursor of a
 * device must not pass a push that it has not received.
 */
export function joinParts(entries: readonly InboxEntry[]): InboxEntry[] {
  const joined: InboxEntry[] = [];
  let run: InboxEntry[] = [];
  let bytes = 0;
  for (const entry of entries) {
    const last = run.at(-1);
    if (last !== undefined && !(follows(last, entry) && bytes < JOINED_BYTES_MAX)) {
      joined.push(join(run));
      run = [];
      bytes = 0;
    }
    run.push(entry);
    bytes += entry.payload.length;
  }
  if (run.length > 0) joined.push(join(run));
  return joined;
}

function follows(last: InboxEntry, next: InboxEntry): boolean {
  const [before, after] = [last.appended, next.appended];
  if (before === undefined || after === undefined) return false;
  const areDelivered = isDelivered(last) && isDelivered(next);
  const isSame = before.to === after.to && last.contentType === next.contentType;
  return (
    areDelivered && isSame && after.offset === before.offset + last.payload.length && !before.isEnd
  );
}

function isDelivered({ ttlMs, isCorrupt }: InboxEntry): boolean {
  return ttlMs > 0 && !isCorrupt;
}

function join(run: readonly InboxEntry[]): InboxEntry {
  const [first, last] = [run[0]!, run.at(-1)!];
  if (run.length === 1) return first;
  const payload = Buffer.concat(run.map((part) => part.payload));
  return { ...last, payload, appended: { ...last.appended!, offset: first.appended!.offset } };
}
