// A js-libp2p peer that does as it is told: one JSON command a line in, one JSON answer a line out.
import { createHash } from 'node:crypto'
import { createInterface } from 'node:readline'

// Some dependencies call this function of Node 22.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((first, second) => { resolve = first; reject = second })
  return { promise, resolve, reject }
}
const { noise } = await import('@chainsafe/libp2p-noise')
const { yamux } = await import('@chainsafe/libp2p-yamux')
const { identify } = await import('@libp2p/identify')
const { ping } = await import('@libp2p/ping')
const { tcp } = await import('@libp2p/tcp')
const { createLibp2p } = await import('libp2p')
const { multiaddr } = await import('@multiformats/multiaddr')

let refuses = false
const host = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  // Asked once the handshake has told who dials.
  connectionGater: { denyInboundEncryptedConnection: () => refuses },
  connectionMonitor: { enabled: false },
  connectionManager: { inboundConnectionThreshold: 1000 },
  services: { identify: identify({ runOnConnectionOpen: false }), ping: ping() }
})

async function count (source) {
  let total = 0
  for await (const chunk of source) total += chunk.byteLength
  return total
}

const now = () => Number(process.hrtime.bigint()) / 1e9
const big = (number) => { const out = Buffer.alloc(8); out.writeBigUInt64BE(BigInt(number)); return out }

// Sends chunks no faster than the other end takes them, then closes the writing side.
async function sendAll (stream, chunks) {
  for await (const chunk of chunks) {
    if (!stream.send(chunk)) await stream.onDrain()
  }
  await stream.close()
}

function * pieces (body, bytes) {
  for (let left = bytes; left > 0; left -= body.length) yield body.subarray(0, Math.min(left, body.length))
}

const many = { maxInboundStreams: 512, maxOutboundStreams: 512 }
await host.handle('/echo/1', (stream) => { sendAll(stream, stream).catch(() => {}) }, many)
await host.handle('/sum/1', async (stream) => { await sendAll(stream, [big(await count(stream))]) }, many)
await host.handle('/reset/1', (stream) => { stream.abort(new Error('as told')) }, many)

let connection
const commands = {
  dial: async ({ address }) => {
    connection = await host.dial(multiaddr(address))
    return { peer: connection.remotePeer.toString() }
  },
  use: async ({ peer }) => {
    connection = host.getConnections().find((each) => each.remotePeer.toString() === peer)
    return { found: connection !== undefined }
  },
  echo: async ({ bytes }) => {
    const stream = await connection.newStream('/echo/1', many)
    const body = Buffer.alloc(bytes, 'p2pfl')
    const digest = createHash('sha256')
    const begun = process.hrtime.bigint()
    const chunks = Array.from({ length: Math.ceil(bytes / 65536) }, (_, i) => body.subarray(i * 65536, (i + 1) * 65536))
    const sending = sendAll(stream, chunks)
    let total = 0
    for await (const chunk of stream) {
      total += chunk.byteLength
      digest.update(chunk.subarray())
    }
    await sending
    return {
      bytes: total,
      same: digest.digest('hex') === createHash('sha256').update(body).digest('hex'),
      seconds: Number(process.hrtime.bigint() - begun) / 1e9
    }
  },
  sum: async ({ bytes, streams = 1 }) => {
    const body = Buffer.alloc(65536)
    const send = async () => {
      const stream = await connection.newStream('/sum/1', many)
      await sendAll(stream, pieces(body, bytes / streams))
      const answer = []
      for await (const chunk of stream) answer.push(Buffer.from(chunk.subarray()))
      return Number(Buffer.concat(answer).readBigUInt64BE())
    }
    const begun = now()
    const totals = await Promise.all(Array.from({ length: streams }, send))
    return { bytes: totals.reduce((a, b) => a + b), seconds: now() - begun }
  },
  resets: async ({ count }) => {
    for (let done = 0; done < count; done++) {
      const stream = await connection.newStream('/echo/1', many)
      stream.abort(new Error('as told'))
    }
    return {}
  },
  // Opens streams that the other end resets; one may be reset before it is agreed on. Reading one
  // that was reset before just ends, so its status tells.
  resets_seen: async ({ count: wanted }) => {
    let seen = 0
    for (let done = 0; done < wanted; done++) {
      try {
        const stream = await connection.newStream('/reset/1', many)
        await count(stream)
        if (stream.status === 'reset') seen++
      } catch (error) {
        if (error.name !== 'StreamResetError') throw error
        seen++
      }
    }
    return { seen }
  },
  refuse: async () => { refuses = true; return {} },
  ping: async () => ({ milliseconds: await host.services.ping.ping(connection.remotePeer) }),
  identify: async () => {
    const told = await host.services.identify.identify(connection)
    return { peer: told.peerId.toString(), protocols: told.protocols, agent: told.agentVersion }
  },
  connect_timed: async ({ address, count }) => {
    const seconds = []
    for (let done = 0; done < count; done++) {
      const begun = now()
      await commands.dial({ address })
      seconds.push(now() - begun)
      await connection.close()
    }
    return { seconds }
  },
  open_timed: async ({ count }) => {
    const seconds = []
    for (let done = 0; done < count; done++) {
      const begun = now()
      const stream = await connection.newStream('/echo/1', many)
      seconds.push(now() - begun)
      stream.abort(new Error('as told'))
    }
    return { seconds }
  },
  request_timed: async ({ count }) => {
    const stream = await connection.newStream('/echo/1', many)
    const answers = stream[Symbol.asyncIterator]()
    const seconds = []
    for (let done = 0; done < count; done++) {
      const begun = now()
      stream.send(Buffer.alloc(100))
      for (let got = 0; got < 100;) got += (await answers.next()).value.byteLength
      seconds.push(now() - begun)
    }
    stream.abort(new Error('as told'))
    return { seconds }
  },
  cpu: async () => { const used = process.cpuUsage(); return { seconds: (used.user + used.system) / 1e6 } }
}

const say = (answer) => process.stdout.write(JSON.stringify(answer) + '\n')
say({ addresses: host.getMultiaddrs().map(String), peer: host.peerId.toString() })
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  try {
    say(await commands[command.do](command))
  } catch (error) {
    say({ error: `${error.name}: ${error.message}` })
  }
}
process.exit(0)
