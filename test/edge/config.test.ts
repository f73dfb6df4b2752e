import { expect, test } from '@jest/globals';
import { edgeSettings } from '../../edge/config.js';

test.each(Object.entries(edgeSettings).filter(([name]) => name.startsWith('LONGLINE_EDGE_')))(
  '%s has a description',
  (_, schema) => {
    expect(schema.description).toMatch(/^.{30,}\.$/s);
  },
);
