/** All fuzz targets: every parser of untrusted bytes. */
import { parseMessage } from '../../../client/messages.js';
import { authTargets } from './auth.js';
import { frontTargets } from './front.js';
import { httpTargets } from './http.js';
import { mqttTargets } from './mqtt.js';
import { proxyTargets } from './proxy.js';
import { bytesOf, type Target } from './target.js';
import { tlsTargets } from './tls.js';
import { websocketTargets } from './websocket.js';

/** Messages of an edge, which the Longline client parses. */
const clientMessage: Target = {
  name: 'client-message',
  inputs: bytesOf(
    '{"type":"welcome","clientId":"a","heartbeatMs":15000,"ticket":"t"}',
    '{"type":"push","id":"1795-0","data":"text","contentType":"text/plain"}',
    '{"type":"push","base64":"/wA="}',
    '{"type":"goaway","retryMs":420,"url":"http://edge/connect?clientId=a"}',
  ),
  dictionary: bytesOf(
    '"type":',
    '"reset"',
    '"session-replaced"',
    '"__proto__":{',
    '{',
    '[',
    '1e400',
    '\\ud800',
  ),
  run: (input) => parseMessage(input.toString()).type,
};

export const targets: readonly Target[] = [
  ...httpTargets,
  ...websocketTargets,
  ...proxyTargets,
  ...mqttTargets,
  ...frontTargets,
  ...authTargets,
  ...tlsTargets,
  clientMessage,
];
