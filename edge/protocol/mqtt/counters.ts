/** What both versions of MQTT count. */
import type { Counter } from 'prom-client';
import type { Metrics } from '../../../common/process/metrics.js';

export class MqttCounters {
  readonly ignored: Counter<'packet'>;
  readonly pushesTooLarge: Counter;

  constructor(metrics: Metrics) {
    this.ignored = metrics.counter(
      'longline_edge_mqtt_ignored_total',
      'Packets of MQTT devices that had no effect: a puback of an unknown identifier, a publish, what belongs to QoS 2.',
      ['packet'],
    );
    this.pushesTooLarge = metrics.counter(
      'longline_edge_mqtt_pushes_too_large_total',
      'Pushes that were not sent because they are larger than the MQTT device takes.',
    );
  }
}
