/** Stands in for a role: announces itself, and exits as a configuration problem does on SIGHUP. */
if (process.env.FAKE_REFUSES !== undefined) {
  process.stderr.write('the fake role rejects\n');
  process.exit(1);
}
process.on('SIGHUP', () => process.exit(78));
process.once('disconnect', () => process.exit(0));
process.send({ type: 'listening', ports: {} });
