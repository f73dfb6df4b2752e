/** Selects the events that a consumer receives. Pure. */
import { matches, parseSelector } from '../../common/labels/selector.js';
import type { Rejection } from '../../common/process/errors.js';
import type { DeliveredEvent } from './partition.js';

export interface FilterRequest {
  /** Empty: all. */
  readonly types: readonly string[];
  readonly clientIdPrefix: string;
  readonly selector: string;
}

export type EventFilter = (event: DeliveredEvent) => boolean;

export function parseFilter({
  types,
  clientIdPrefix,
  selector,
}: FilterRequest): EventFilter | Rejection {
  const parsed = parseSelector(selector);
  if ('code' in parsed) return parsed;
  return ({ type, clientId, fields }) => {
    if (types.length > 0 && !types.includes(type)) return false;
    if (!clientId.startsWith(clientIdPrefix)) return false;
    if (selector === '') return true;
    return matches(parsed, labelsOf(fields.get('l') ?? ''));
  };
}

/**
 * Labels as `labelsText` writes them: those of token and query together may exceed the bounds of
 * one.
 */
function labelsOf(text: string): Map<string, string> {
  const pairs = text === '' ? [] : text.split(',');
  return new Map(pairs.map((pair) => pair.split('=', 2) as [string, string]));
}
