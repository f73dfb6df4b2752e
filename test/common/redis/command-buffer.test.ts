import { expect, test } from '@jest/globals';
import { CommandBuffer } from '../../../common/redis/command-buffer.js';

test('writes a command as an array of bulk strings, with lengths in bytes', () => {
  const buffer = new CommandBuffer();
  buffer.append('set', ['ключ', 12.5, Buffer.from([0, 13, 10, 255])]);
  expect(buffer.take().toString('latin1')).toBe(
    `*4\r\n$3\r\nset\r\n$8\r\n${Buffer.from('ключ').toString('latin1')}\r\n$4\r\n12.5\r\n` +
      '$4\r\n\0\r\n\xff\r\n',
  );
});

test('writes lengths of any number of digits, and long texts', () => {
  for (const length of [0, 1, 9, 10, 99, 100, 127, 128, 129, 1_000, 65_536]) {
    const buffer = new CommandBuffer();
    const [ascii, wide] = ['a'.repeat(length), 'é'.repeat(length)];
    buffer.append('x', [ascii, wide, Buffer.from(ascii)]);
    expect(buffer.take().toString()).toBe(
      `*4\r\n$1\r\nx\r\n$${length}\r\n${ascii}\r\n$${2 * length}\r\n${wide}\r\n$${length}\r\n${ascii}\r\n`,
    );
  }
});

test('take returns the commands appended since the last take', () => {
  const buffer = new CommandBuffer();
  buffer.append('ping', []);
  buffer.append('get', ['a']);
  expect(buffer.take().toString()).toBe('*1\r\n$4\r\nping\r\n*2\r\n$3\r\nget\r\n$1\r\na\r\n');
  expect(buffer.take()).toHaveLength(0);
});

test('taken commands stay unchanged while later ones outgrow the arena', () => {
  const buffer = new CommandBuffer();
  const payload = (i: number) => Buffer.alloc(i * 1_000, `${i % 10}`);
  const expected: string[] = [];
  const taken: Buffer[] = [];
  for (let i = 0; i < 200; i++) {
    buffer.append('set', [`k${i}`, payload(i)]);
    const [key, length] = [`k${i}`, i * 1_000];
    expected.push(`*3\r\n$3\r\nset\r\n$${key.length}\r\n${key}\r\n$${length}\r\n${payload(i)}\r\n`);
    if (i % 7 === 0) taken.push(buffer.take());
  }
  taken.push(buffer.take());
  expect(Buffer.concat(taken).toString()).toBe(expected.join(''));
});
