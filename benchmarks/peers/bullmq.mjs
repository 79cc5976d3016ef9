// BullMQ: a job is locked by its worker while it runs, and taken back when the lock is not renewed.
//
//   node bullmq.mjs work CONCURRENCY
//   node bullmq.mjs FUNCTION CALLS [PAUSE_SECONDS]     prints what `benchmarks.produce` prints

import fs from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Queue, Worker } from "bullmq";

const SLOT_BYTES = 8; // the first slot of `benchmarks.marks`: node runs all jobs in one thread
const TEXT = "x".repeat(88);
const address = new URL(process.env.REDIS_URL);
const connection = { host: address.hostname, port: Number(address.port), maxRetriesPerRequest: null };
const now = () => Number(process.hrtime.bigint()) / 1e9; // the clock of Python's time.monotonic()

function work(concurrency) {
  const tally = fs.openSync(process.env.BENCH_TALLY, "r+");
  const stamps = fs.openSync(process.env.BENCH_STAMPS, "a");
  const count = Buffer.alloc(SLOT_BYTES);
  const handlers = {
    noop: () => {
      count.writeBigUInt64LE(count.readBigUInt64LE() + 1n);
      fs.writeSync(tally, count, 0, SLOT_BYTES, 0);
    },
    stamp: (data) => {
      const seconds = Buffer.alloc(8);
      seconds.writeDoubleLE(now() - data.sent);
      fs.writeSync(stamps, seconds);
    },
  };
  const worker = new Worker("peer", async (job) => handlers[job.name](job.data), { connection, concurrency });
  process.on("SIGTERM", () => worker.close().then(() => process.exit(0)));
}

async function produce(name, calls, pauseSeconds) {
  const queue = new Queue("peer", { connection });
  const senders = {
    send_noop: () => queue.add("noop", { text: TEXT }),
    send_stamp: () => queue.add("stamp", { sent: now() }),
    send_hundred: () => queue.addBulk(Array.from({ length: 100 }, () => ({ name: "noop", data: { text: TEXT } }))),
  };
  const skipped = Math.min(Math.floor(calls / 10), 100);
  let began, cpu;
  for (let n = 0; n < calls; n++) {
    if (n === skipped) [began, cpu] = [now(), process.cpuUsage()];
    await senders[name]();
    if (pauseSeconds) await sleep(pauseSeconds * 1000);
  }
  const seconds = now() - began;
  const used = process.cpuUsage(cpu);
  console.log(JSON.stringify({ calls: calls - skipped, seconds, cpu_seconds: (used.user + used.system) / 1e6 }));
  await queue.close();
}

const [what, count, pause] = process.argv.slice(2);
if (what === "work") work(Number(count));
else await produce(what, Number(count), Number(pause ?? 0));
