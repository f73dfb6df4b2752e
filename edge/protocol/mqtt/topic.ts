/** The single topic of a device, and topic filters (MQTT 5 §4.7, §4.8). */

/** Topic of all pushes to a client. */
export function topicOf(clientId: string): string {
  return `push/${clientId}`;
}

/**
 * Whether a topic filter is valid: not empty [MQTT-4.7.3-1], `#` only as the whole last level
 * [MQTT-4.7.1-1], `+` only as a whole level [MQTT-4.7.1-2].
 */
export function isTopicFilter(filter: string): boolean {
  if (filter === '') return false;
  const levels = filter.split('/');
  return levels.every((level, i) => {
    if (level === '#') return i === levels.length - 1;
    return level === '+' || !/[#+]/.test(level);
  });
}

/** Whether this is the filter of a shared subscription [MQTT-4.8.2-1]. */
export function isSharedFilter(filter: string): boolean {
  return filter.startsWith('$share/');
}

/** Whether a filter matches a topic that does not start with `$` (§4.7.1, [MQTT-4.7.2-1]). */
export function covers(filter: string, topic: string): boolean {
  const filterLevels = filter.split('/');
  const levels = topic.split('/');
  for (const [i, level] of filterLevels.entries()) {
    // `#` matches any number of levels, including none.
    if (level === '#') return true;
    if (i >= levels.length || (level !== '+' && level !== levels[i])) return false;
  }
  return filterLevels.length === levels.length;
}
