// work.js [SCALE]: what node's compilers and collector find hard; prints results only.
'use strict';
const { Worker, isMainThread, workerData, parentPort } = require('worker_threads');
const crypto = require('crypto');
const zlib = require('zlib');
const scale = Number(process.argv[2] || 1);

if (!isMainThread) {
  const a = new Int32Array(workerData.shared);
  for (let i = 0; i < workerData.n; i++) {
    Atomics.add(a, 0, 1);
    if (i % 1000 === 0) { Atomics.add(a, 1, 1); Atomics.notify(a, 1); }
  }
  parentPort.postMessage('done');
} else {
  main();
}

function rng(seed) { let x = seed >>> 0; return () => (x = (Math.imul(x, 1664525) + 1013904223) >>> 0); }

async function main() {
  const r = rng(7);
  // Shapes that change, numbers that turn from small integers to doubles, deoptimisation.
  let poly = 0;
  const shapes = [{ a: 1 }, { a: 1.5, b: 2 }, { b: 1, a: 2 }, [3], 'str', null];
  const f = (o) => { try { return o.a === undefined ? o.length : o.a; } catch (e) { return -1; } };
  for (let i = 0; i < 400000 * scale; i++) poly += f(shapes[i % 6]);
  console.log('poly', poly);
  const fib = (n) => (n < 2 ? n : fib(n - 1) + fib(n - 2));
  console.log('fib', fib(24 + scale));
  const big = (n) => { let x = 1n; for (let i = 1n; i <= n; i++) x *= i; return x; };
  console.log('bigint', crypto.createHash('sha256').update(big(1500n).toString()).digest('hex'));
  const floats = new Float64Array(20000);
  for (let i = 0; i < floats.length; i++) {
    floats[i] = Math.sin(i) * Math.exp(i % 10) + Math.atan2(i, 3) ** 1.5;
  }
  console.log('floats', crypto.createHash('sha256').update(Buffer.from(floats.buffer)).digest('hex'));
  const objects = [];
  for (let i = 0; i < 20000 * scale; i++) {
    objects.push({ id: r() % 100000, name: 'n' + (r() % 977), list: [i, i / 3, { x: i }] });
  }
  objects.sort((p, q) => p.id - q.id || (p.name < q.name ? -1 : p.name > q.name ? 1 : p.list[0] - q.list[0]));
  const text = JSON.stringify(objects);
  console.log('json', crypto.createHash('md5').update(JSON.stringify(JSON.parse(text))).digest('hex'));
  console.log('regexp', text.match(/"name":"n(\d)\1+"/g).length,
    text.replace(/[aeiou](?=\w)/g, (c) => c.toUpperCase()).length);
  const packed = zlib.gzipSync(text);
  console.log('zlib', zlib.gunzipSync(packed).toString() === text,
    zlib.brotliDecompressSync(zlib.brotliCompressSync(text.slice(0, 200000))).length);
  const map = new Map(), set = new Set();
  for (let i = 0; i < 200000 * scale; i++) {
    const k = r() % 50000;
    map.set('k' + k, (map.get('k' + k) || 0) + 1);
    set.add(k);
  }
  console.log('map', map.size, set.size, [...map.values()].reduce((p, q) => p + q * q, 0));
  let garbage = 0;
  for (let i = 0; i < 30 * scale; i++) {
    const a = [];
    for (let k = 0; k < 20000; k++) a.push({ k, s: 'x' + k });
    garbage += a[i].k + a.length;
  }
  console.log('garbage', garbage);
  // (module (func (export "f") (param i32) (result i32) ...)): the sum of squares in a loop.
  const wasm = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 127, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1,
    102, 0, 0, 10, 30, 1, 28, 1,
    1, 127, 3, 64, 32, 1, 32, 0, 32, 0, 108, 106, 33, 1, 32, 0, 65, 1, 107, 34, 0, 13, 0, 11, 32, 1, 11]);
  try {
    const { instance } = await WebAssembly.instantiate(wasm);
    console.log('wasm', instance.exports.f(1000000 * scale));
  } catch (e) { console.log('wasm', String(e)); }
  const shared = new SharedArrayBuffer(8), n = 50000 * scale;
  await Promise.all([1, 2, 3].map(() => new Promise((ok, no) => {
    const w = new Worker(__filename, { workerData: { shared, n } });
    w.on('message', ok); w.on('error', no);
  })));
  console.log('atomics', ...new Int32Array(shared));
  const sleep = (ms) => new Promise((ok) => setTimeout(ok, ms));
  const order = [];
  await Promise.all([30, 10, 20].map(async (ms) => { await sleep(ms * 10); order.push(ms); }));
  console.log('timers', ...order);
  const { privateKey, publicKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
  console.log('ecdsa', crypto.verify('sha256', Buffer.from('text'), publicKey,
    crypto.sign('sha256', Buffer.from('text'), privateKey)));
}
