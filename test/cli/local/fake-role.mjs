/** A fake role: reports that it listens, and exits with EX_CONFIG on SIGHUP. */
if (process.env.FAKE_ROLE_REJECTS !== undefined) {
  process.stderr.write('the fake role rejects\n');
  process.exit(1);
}
process.on('SIGHUP', () => process.exit(78));
process.once('disconnect', () => process.exit(0));
process.send({ type: 'listening', ports: {} });
