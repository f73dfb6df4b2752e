import { expect, test } from '@jest/globals';
import { rejectVersion } from '../../../common/redis/startup-check.js';

test.each(['7.0.0', '7.0.15', '8.2.1', '10.0.0'])('Redis %s is new enough', (version) => {
  expect(rejectVersion(version)).toBeUndefined();
});

test.each(['6.2.14', '5.0.7', 'unknown'])('Redis %s is rejected', (version) => {
  expect(rejectVersion(version)).toBe(`Redis is ${version}; sharded pub/sub needs 7.0.0 or newer`);
});
