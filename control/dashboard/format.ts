/** Numbers, times and events as text. Pure. */
import type { EventInfo } from '../operator/operation-responses.js';

export const UNKNOWN = '–';

// Made once: `toLocaleString` makes a new one for each of hundreds of rows.
const time = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' });
const dateAndTime = new Intl.DateTimeFormat('en-GB', { dateStyle: 'short', timeStyle: 'medium' });
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });

export function number(value: number | null | undefined): string {
  return value === null || value === undefined ? UNKNOWN : whole.format(value);
}

/** Such as `12.3K`. */
export function compact(value: number | null | undefined): string {
  return value === null || value === undefined ? UNKNOWN : short.format(value);
}

export function plural(count: number | null | undefined, noun: string): string {
  return `${number(count)} ${noun}${count === 1 ? '' : 's'}`;
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return UNKNOWN;
  const unit =
    Math.abs(value) < 1e3 ? 0 : Math.abs(value) < 1e6 ? 1 : Math.abs(value) < 1e9 ? 2 : 3;
  const scaled = value / 1_000 ** unit;
  return `${scaled.toFixed(unit === 0 || Math.abs(scaled) >= 100 ? 0 : 1)} ${['B', 'kB', 'MB', 'GB'][unit]}`;
}

export function percent(share: number): string {
  if (share > 0 && share < 0.001) return '< 0.1 %';
  return `${share > 0 && share < 0.1 ? (100 * share).toFixed(1) : Math.round(100 * share)} %`;
}

/** Such as `1.5 s`, `4 min` or `3 h 5 min`. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return UNKNOWN;
  const s = ms / 1_000;
  if (ms < 1_000) return `${ms < 10 ? Number(ms.toFixed(1)) : Math.round(ms)} ms`;
  if (s < 60) return `${s < 10 ? Number(s.toFixed(1)) : Math.round(s)} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${Math.round((s % 3_600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.round((s % 86_400) / 3_600)} h`;
}

export function eta(seconds: number | null): string {
  return seconds === null ? 'time left unknown' : `${duration(1_000 * seconds)} left`;
}

export function clockTime(unixMs: number): string {
  return time.format(unixMs);
}

export function dateTime(unixMs: number): string {
  return dateAndTime.format(unixMs);
}

/** The fields of an event beside its type, as a sentence. */
export function describeEvent(event: EventInfo): string {
  const { actor, action, edgeId, from, to, shard, shards, intent, controlId, clientId } = event;
  const { incarnation, messageId, clients, detail, ends, reason } = event;
  return [
    actor !== undefined && `${actor}:`,
    action,
    edgeId,
    controlId,
    clientId,
    messageId,
    detail,
    clients !== undefined && plural(clients, 'client'),
    intent === 'none' ? 'is an ordinary edge again' : intent,
    shard !== undefined && `shard ${shard}`,
    shards !== undefined && plural(shards, 'shard'),
    to !== undefined && (from === undefined ? `on ${to}` : `${from} → ${to}`),
    incarnation !== undefined && `incarnation ${incarnation}`,
    ends !== undefined && `${plural(ends, 'end')} in a minute`,
    reason && `“${reason}”`,
  ]
    .filter((part) => typeof part === 'string' && part !== '')
    .join(' ');
}
