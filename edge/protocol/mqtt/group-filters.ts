/**
 * Topic filters of groups: SUBSCRIBE to `group/<name>` joins the group, UNSUBSCRIBE leaves it.
 * Pushes to a group come on the topic of the client, as all its pushes do. Their SUBACK waits for
 * Redis.
 */
import type { ErrorCode } from '../../../common/process/errors.js';
import type { Connection } from '../../../common/transport/transport.js';
import { MQTT_REASON, type MqttReason } from '../../../common/wire/mqtt/rejection.js';
import type { GroupHost } from '../protocol.js';

const GROUP = 'group/';

const REASONS: { readonly [code in ErrorCode]?: MqttReason } = {
  PERMISSION_DENIED: MQTT_REASON.notAuthorized,
  GROUP_INVALID: MQTT_REASON.topicFilterInvalid,
  MEMBER_GROUPS_TOO_MANY: MQTT_REASON.quotaExceeded,
  OVERLOADED: MQTT_REASON.quotaExceeded,
};

/** Whether this is the filter of a group. */
export function isGroupFilter(filter: string): boolean {
  return filter.startsWith(GROUP);
}

/** Resolves with the reason code of a SUBACK (§3.9.3). */
export async function joinByFilter(
  groups: Pick<GroupHost, 'join'>,
  connection: Connection,
  filter: string,
  grantedQos: 0 | 1,
): Promise<number> {
  const rejected = await groups.join(connection, filter.slice(GROUP.length));
  if (rejected === undefined) return grantedQos;
  return REASONS[rejected.code] ?? MQTT_REASON.unspecifiedError;
}

/** Resolves with the reason code of an UNSUBACK (§3.11.3), which has none for a quota. */
export async function leaveByFilter(
  groups: Pick<GroupHost, 'leave'>,
  connection: Connection,
  filter: string,
): Promise<number> {
  const rejected = await groups.leave(connection, filter.slice(GROUP.length));
  if (rejected === undefined) return MQTT_REASON.success;
  const reason = REASONS[rejected.code] ?? MQTT_REASON.unspecifiedError;
  return reason === MQTT_REASON.quotaExceeded ? MQTT_REASON.unspecifiedError : reason;
}
