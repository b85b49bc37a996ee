import dns from 'node:dns';
import { syncBuiltinESMExports } from 'node:module';

// Loaded into workers before the product: names of a DNS that is not ours. `rebound.test` answers with a public address
// and a private one, as a name does that is being rebound, and `inside.test` with a private one alone.
const PRIVATE = { address: '127.0.0.2', family: 4 };
const NAMES = { 'rebound.test': [{ address: '93.184.215.14', family: 4 }, PRIVATE], 'inside.test': [PRIVATE] };

const system = dns.lookup;
dns.lookup = (name, options, callback) => {
  const answer = NAMES[name];
  if (!answer) return system(name, options, callback);
  setImmediate(callback, null, answer);
};
syncBuiltinESMExports();
