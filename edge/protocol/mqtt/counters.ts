/** Counters that both versions of MQTT share. */
import type { Counter } from 'prom-client';
import type { Metrics } from '../../../common/process/metrics.js';

export class MqttCounters {
  readonly ignored: Counter<'packet'>;
  readonly pushesTooLarge: Counter;
  readonly unacknowledged: Counter<'outcome'>;

  constructor(metrics: Metrics) {
    this.ignored = metrics.counter(
      'longline_edge_mqtt_ignored_total',
      'MQTT packets without effect: puback of an unknown id, publish, and packets of QoS 2',
      ['packet'],
    );
    this.pushesTooLarge = metrics.counter(
      'longline_edge_mqtt_pushes_too_large_total',
      'Pushes not sent because they exceed the Maximum Packet Size of the MQTT device',
    );
    this.unacknowledged = metrics.counter(
      'longline_edge_mqtt_unacknowledged_total',
      'QoS 1 pushes without PUBACK that have left the in-flight window, by outcome: set_aside ' +
        '(sent again on the next connection) or expired',
      ['outcome'],
    );
  }
}
