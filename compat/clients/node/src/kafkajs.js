// kafkajs; what each case does stands in compat/clients/README.md.
'use strict'

const fs = require('node:fs')
const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, PartitionAssigners, logLevel } = require('kafkajs')
const lz4 = require('lz4-napi')
const { ZstdCodec } = require('zstd-codec')

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4.compressFrame(encoder.buffer),
  decompress: async buffer => lz4.decompressFrame(buffer),
})
const zstd = new Promise(done => ZstdCodec.run(module => done(new module.Simple())))
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from((await zstd).compress(encoder.buffer)),
  decompress: async buffer => Buffer.from((await zstd).decompress(buffer)),
})

const CODECS = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD }
const RECORDS = 20
const PARTITIONS = 5
const TIME_FIRST_MS = 1_700_000_000_000
const TIME_STEP_MS = 1000
const PATIENCE_MS = 30_000

const setup = JSON.parse(fs.readFileSync(process.argv[2]))
const kafka = new Kafka({ brokers: setup.bootstrap.split(','), logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, retries: 8 } })
const admin = kafka.admin()
const name = what => `${setup.prefix}-${what}`
const TOPIC = name('records')

class Skipped extends Error {}

const needs = feature => {
  if (!setup.has.includes(feature)) throw new Skipped(`the server has no ${feature}`)
}

function equal(found, wanted, what) {
  const [one, other] = [JSON.stringify(found), JSON.stringify(wanted)]
  if (one !== other) throw new Error(`${what}: ${one?.slice(0, 200)}; it should be ${other?.slice(0, 200)}`)
}

const sleep = ms => new Promise(done => setTimeout(done, ms))

// Asks again and again until it is so.
async function until(what, condition) {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const found = await condition()
    if (found) return found
    if (Date.now() > deadline) throw new Error(`not yet after ${PATIENCE_MS} ms: ${what}`)
    await sleep(20)
  }
}

// The client's errors may have the server's inside.
function typeOf(error) {
  for (let each = error; each; each = each.cause ?? each.originalError ?? each.errors?.[0] ?? each.groups?.[0]?.error) {
    if (each.type) return each.type
  }
  return `${error.name}: ${error.message}`
}

async function refused(type, action) {
  try {
    await action()
  } catch (error) {
    const found = typeOf(error)
    if (![].concat(type).includes(found)) throw new Error(`${found}; it should be ${type}`)
    return
  }
  throw new Error(`no ${type}`)
}

// Keys and values that are null, empty and neither, and a header that is there twice.
function records() {
  return Array.from({ length: RECORDS }, (_, i) => ({
    key: i % 5 === 0 ? null : `key-${i}`,
    value: i === 3 ? null : i === 4 ? '' : `value-${i} `.repeat(20),
    headers: { number: [`${i}`, 'again'], empty: '' },
    timestamp: `${TIME_FIRST_MS + i * TIME_STEP_MS}`,
  }))
}

const text = bytes => (bytes === null || bytes === undefined ? null : bytes.toString())

function content(message) {
  const headers = Object.entries(message.headers ?? {}).map(([key, value]) => [key, [].concat(value).map(text)])
  return [text(message.key), text(message.value), headers, message.timestamp]
}

async function send(topic, partition, messages, options = {}) {
  const { codec = CompressionTypes.None, ...config } = options
  const producer = kafka.producer({ allowAutoTopicCreation: false, ...config })
  await producer.connect()
  try {
    await producer.send({ topic, acks: -1, compression: codec, messages: messages.map(each => ({ ...each, partition })) })
  } finally {
    await producer.disconnect()
  }
}

// A group of its own that seeks, since the client reads in groups only. So many, and not one more.
let readers = 0
async function read(topic, partition, offset, count, config = {}) {
  const groupId = name(`reader-${readers++}`)
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 200, heartbeatInterval: 300, ...config })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  const found = []
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition: from, message }) => {
      if (from === partition && Number(message.offset) >= offset) found.push(message)
    },
  })
  consumer.seek({ topic, partition, offset: `${offset}` })
  try {
    await until(`${count} records`, () => found.length >= count)
    await sleep(300)
  } finally {
    await consumer.disconnect()
  }
  equal(found.length, count, 'records read')
  return found
}

// A member of a group that commits only what it is told to.
async function join(group, config = {}, topic = TOPIC) {
  const groupId = name(group)
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 200, heartbeatInterval: 300, sessionTimeout: 10_000, ...config })
  const member = { consumer, owned: [], found: [], leave: () => consumer.disconnect() }
  consumer.on('consumer.group_join', ({ payload }) => {
    member.owned = payload.memberAssignment[topic] ?? []
  })
  consumer.on('consumer.rebalancing', () => {
    member.owned = []
  })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      member.found.push({ partition, offset: Number(message.offset) })
    },
  })
  return member
}

async function rebalance(group, config) {
  const one = await join(group, config)
  await until('one member has all partitions', () => one.owned.length === PARTITIONS)
  const two = await join(group, config)
  await until('two members share them', () => Math.min(one.owned.length, two.owned.length) === 2
    && new Set([...one.owned, ...two.owned]).size === PARTITIONS)
  await two.leave()
  await until('the one that is left has all of them', () => one.owned.length === PARTITIONS)
  await one.leave()
}

async function transactional() {
  const producer = kafka.producer({ transactionalId: name('transactions'), transactionTimeout: 30_000,
    maxInFlightRequests: 1, idempotent: true, allowAutoTopicCreation: false })
  await producer.connect()
  return producer
}

async function transactionTopic() {
  needs('transactions')
  const topic = name('transactions')
  if (!(await admin.listTopics()).includes(topic)) {
    await admin.createTopics({ topics: [{ topic, numPartitions: 2, replicationFactor: 3 }], waitForLeaders: true })
  }
  return topic
}

const values = async (...what) => (await read(...what)).map(each => text(each.value)).join(' ')
const UNCOMMITTED = { readUncommitted: true }
const COMMITTED = { readUncommitted: false }

const cases = {
  'create-topic': async () => {
    const topics = [{ topic: TOPIC, numPartitions: 3, replicationFactor: 3,
      configEntries: [{ name: 'retention.ms', value: '-1' }] }]
    await admin.createTopics({ topics, waitForLeaders: true })
    // It answers false and no error.
    equal(await admin.createTopics({ topics }), false, 'the second time')
    const { topics: [found] } = await admin.fetchTopicMetadata({ topics: [TOPIC] })
    equal(found.partitions.map(each => each.replicas.length), [3, 3, 3], 'replicas')
  },
  'create-partitions': async () => {
    await admin.createPartitions({ topicPartitions: [{ topic: TOPIC, count: PARTITIONS }] })
    await until('5 partitions', async () => (await admin.fetchTopicMetadata({ topics: [TOPIC] }))
      .topics[0].partitions.length === PARTITIONS)
    await refused('INVALID_PARTITIONS', () => admin.createPartitions({ topicPartitions: [{ topic: TOPIC, count: 4 }] }))
  },
  'topic-configs': async () => {
    const type = ConfigResourceTypes.TOPIC
    // It has only the old request, which replaces all that was set.
    const configEntries = [{ name: 'max.message.bytes', value: '1000000' }, { name: 'retention.ms', value: '-1' }]
    await admin.alterConfigs({ validateOnly: false, resources: [{ type, name: TOPIC, configEntries }] })
    const all = async () => {
      const { resources: [found] } = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type, name: TOPIC }] })
      return Object.fromEntries(found.configEntries.map(each => [each.configName, each.configValue]))
    }
    await until('it is so on every broker', async () => (await all())['max.message.bytes'] === '1000000')
    const found = await all()
    equal(found['retention.ms'], '-1', 'retention.ms')
    equal(found['segment.bytes'], `${2 ** 30}`, 'segment.bytes')
  },
  ...Object.fromEntries(Object.entries(CODECS).map(([name, codec], partition) => [`produce-${name}`, async () => {
    await send(TOPIC, partition, records(), { codec })
    equal((await read(TOPIC, partition, 0, RECORDS)).map(content), records().map(content), 'what is read')
  }])),
  'too-large': () => refused('MESSAGE_TOO_LARGE', () => send(TOPIC, 0, [{ value: 'x'.repeat(1_500_000) }])),
  'consume-by-offset': async () => {
    const found = await read(TOPIC, 0, 15, RECORDS - 15)
    equal(found[0].offset, '15', 'the first')
  },
  'consume-by-time': async () => {
    const of = async (partition, time) => (await admin.fetchTopicOffsetsByTimestamp(TOPIC, time))
      .find(each => each.partition === partition).offset
    equal(await of(0, TIME_FIRST_MS + 7 * TIME_STEP_MS - 1), '7', 'the offset of a time')
    // Where there is none, the client answers with the end.
    equal(await of(1, TIME_FIRST_MS + RECORDS * TIME_STEP_MS), `${RECORDS}`, 'that of one behind all')
  },
  'list-offsets': async () => {
    const [found] = (await admin.fetchTopicOffsets(TOPIC)).filter(each => each.partition === 0)
    equal([found.low, found.high], ['0', `${RECORDS}`], 'the first and the end')
  },
  'greatest-time': async () => {
    throw new Skipped('the client speaks no version that has it')
  },
  'offset-out-of-range': async () => {
    throw new Skipped('the client goes on at its default offset by itself')
  },
  idempotent: async () => {
    const topic = name('idempotent')
    await admin.createTopics({ topics: [{ topic, numPartitions: 1, replicationFactor: 3 }], waitForLeaders: true })
    const producer = kafka.producer({ idempotent: true, allowAutoTopicCreation: false })
    await producer.connect()
    const all = Array.from({ length: 200 }, (_, i) => `${i}`)
    for (let begin = 0; begin < 200; begin += 40) {
      await producer.send({ topic, messages: all.slice(begin, begin + 40).map(value => ({ value, partition: 0 })) })
    }
    await producer.disconnect()
    equal((await read(topic, 0, 0, 200)).map(each => text(each.value)), all, 'values')
  },
  'group-range': async () => {
    throw new Skipped('the client has no such assignor')
  },
  'group-roundrobin': () => rebalance('roundrobin', { partitionAssigners: [PartitionAssigners.roundRobin] }),
  'group-sticky': async () => {
    throw new Skipped('the client has no such assignor')
  },
  'group-cooperative-sticky': async () => {
    throw new Skipped('the client has no such assignor')
  },
  'group-static': async () => {
    throw new Skipped('the client has no static members')
  },
  ...Object.fromEntries(['group-new-protocol', 'group-new-static', 'group-new-regex', 'group-new-range',
    'group-migration'].map(name => [name, async () => {
    needs('consumer groups')
    throw new Skipped('the client has only the classic protocol')
  }])),
  commits: async () => {
    const one = await join('commits')
    await until('a record', () => one.found.length > 0)
    const { partition, offset } = one.found[0]
    const next = offset + 1
    await one.consumer.commitOffsets([{ topic: TOPIC, partition, offset: `${next}`, metadata: 'noted' }])
    await one.leave()
    const [{ partitions }] = await admin.fetchOffsets({ groupId: name('commits'), topics: [TOPIC] })
    const committed = partitions.filter(each => each.offset !== '-1')
    equal(committed, [{ partition, offset: `${next}`, metadata: 'noted' }], 'what the group has')
    const two = await join('commits')
    const rest = PARTITIONS * RECORDS - next
    await until('the rest', () => two.found.length >= rest)
    await two.leave()
    equal(two.found.length, rest, 'records after a commit')
    equal(two.found.find(each => each.partition === partition).offset, next, 'the next')
  },
  'group-admin': async () => {
    const { groups } = await admin.listGroups()
    equal(groups.some(each => each.groupId === name('commits')), true, 'it is listed')
    const { groups: [described] } = await admin.describeGroups([name('commits')])
    equal(described.state, 'Empty', 'state')
  },
  'group-changes': async () => {
    const groupId = name('commits')
    await admin.setOffsets({ groupId, topic: TOPIC, partitions: [{ partition: 0, offset: '3' }] })
    const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [TOPIC] })
    equal(partitions.find(each => each.partition === 0).offset, '3', 'what was altered')
    await admin.deleteGroups([groupId])
    await refused('GROUP_ID_NOT_FOUND', () => admin.deleteGroups([groupId]))
  },
  'delete-records': async () => {
    await admin.deleteTopicRecords({ topic: TOPIC, partitions: [{ partition: 0, offset: '5' }] })
    const [found] = (await admin.fetchTopicOffsets(TOPIC)).filter(each => each.partition === 0)
    equal([found.low, found.high], ['5', `${RECORDS}`], 'the first and the end')
    equal((await read(TOPIC, 0, 5, RECORDS - 5))[0].offset, '5', 'what is read first')
  },
  'delete-topic': async () => {
    const topic = name('idempotent')
    await admin.deleteTopics({ topics: [topic] })
    await until('it is gone', async () => !(await admin.listTopics()).includes(topic))
    await refused('UNKNOWN_TOPIC_OR_PARTITION', () => admin.deleteTopics({ topics: [topic] }))
  },
  transactions: async () => {
    const topic = await transactionTopic()
    const producer = await transactional()
    for (const value of ['committed', 'aborted', 'last']) {
      const transaction = await producer.transaction()
      // One after the other: it sends again what is under way when another broker has to be asked again.
      for (const partition of [0, 1]) {
        await transaction.send({ topic, messages: [{ value, partition }] })
      }
      await (value === 'aborted' ? transaction.abort() : transaction.commit())
    }
    await producer.disconnect()
    for (const partition of [0, 1]) {
      equal(await values(topic, partition, 0, 2, COMMITTED), 'committed last', 'read_committed')
      equal(await values(topic, partition, 0, 3, UNCOMMITTED), 'committed aborted last', 'read_uncommitted')
    }
  },
  'transaction-open': async () => {
    const topic = await transactionTopic()
    const producer = await transactional()
    const transaction = await producer.transaction()
    await transaction.send({ topic, messages: [{ value: 'open', partition: 1 }] })
    equal(await values(topic, 1, 0, 2, COMMITTED), 'committed last', 'read_committed while it is open')
    await transaction.commit()
    await producer.disconnect()
    equal(await values(topic, 1, 0, 3, COMMITTED), 'committed last open', 'read_committed after it')
  },
  'transaction-offsets': async () => {
    const topic = await transactionTopic()
    const consumerGroupId = name('offsets')
    const producer = await transactional()
    for (const offset of ['7', '9']) {
      const transaction = await producer.transaction()
      await transaction.send({ topic, messages: [{ value: 'with offsets', partition: 0 }] })
      await transaction.sendOffsets({ consumerGroupId, topics: [{ topic: TOPIC, partitions: [{ partition: 1, offset }] }] })
      await (offset === '7' ? transaction.commit() : transaction.abort())
      // The end is answered before all of its markers are written.
      await until('only the committed one counts', async () => {
        const [{ partitions }] = await admin.fetchOffsets({ groupId: consumerGroupId, topics: [TOPIC] })
        return partitions.find(each => each.partition === 1).offset === '7'
      })
    }
    await producer.disconnect()
  },
  'transaction-fenced': async () => {
    const topic = await transactionTopic()
    const old = await transactional()
    const transaction = await old.transaction()
    await transaction.send({ topic, messages: [{ value: 'of the old', partition: 0 }] })
    const fresh = await transactional()
    // It asks for its id when a transaction begins.
    const next = await fresh.transaction()
    await refused(['PRODUCER_FENCED', 'INVALID_PRODUCER_EPOCH'], async () => {
      await transaction.send({ topic, messages: [{ value: 'too late', partition: 0 }] })
      await transaction.commit()
    })
    await next.abort()
    await fresh.disconnect()
    await old.disconnect()
  },
}

// One that fails does not keep the next from being tried.
async function tell(name, action) {
  const begun = Date.now()
  let [result, detail] = ['passed', '']
  try {
    await action()
  } catch (error) {
    result = error instanceof Skipped ? 'skipped' : 'failed'
    detail = `${error.type ? `${error.type}: ` : ''}${error.message}`.slice(0, 500)
  }
  console.log(JSON.stringify({ case: name, result, detail, ms: Date.now() - begun }))
}

async function main() {
  await admin.connect()
  for (const [name, action] of Object.entries(cases)) await tell(name, action)
  await admin.disconnect()
  // Members that could not leave.
  process.exit(0)
}

main()
