import test from 'ava'
import { XsknetError } from 'xsknet'
import { reloader } from '../../../packages/xsknetd/src/cli/reloader.js'
import {
  type Configuration,
  checkConfiguration,
  readConfiguration,
} from '../../../packages/xsknetd/src/configuration/configuration.js'
import { launch, replaceGrants } from '../../../packages/xsknetd/src/daemon/daemon.js'
import type { SweptInstance } from '../../../packages/xsknetd/src/platform/instance.js'
import type { Platform } from '../../../packages/xsknetd/src/platform/platform.js'
import type { Connection } from '../../../packages/xsknetd/src/platform/transport.js'
import { ALICE, BOB, FakeConnection, FakeInstance, grant, Record, ROOT, refusal } from './fakes.js'

function setUp() {
  const instance = new FakeInstance()
  const record = new Record()
  const { did } = instance
  let connect: (connection: Connection) => void = () => {}
  const platform: Platform & { refuses?: XsknetError | undefined; dead: SweptInstance[]; trusted?: readonly number[] } =
    {
      dead: [],
      instance: () => instance,
      sweepDead: async () => platform.dead,
      listener: () => ({
        listen: async (path, allUsers, { trusted }, onConnection) => {
          did.push(`listen ${path}${allUsers ? '' : ' for its user'}`)
          platform.trusted = trusted.uids
          if (platform.refuses) throw platform.refuses
          connect = onConnection
        },
        close: async () => void did.push('unlisten'),
        closeNow: () => void did.push('unlistenNow'),
      }),
    }
  const configuration = {
    ...readConfiguration({ uplinks: ['eth0', 'eth1'], instance: 'lab', mode: 'skb' }),
    grants: [grant()],
  }
  const client = async (who = ALICE) => {
    const connection = new FakeConnection(who)
    connect(connection)
    await connection.result('hello', { client: 'test' })
    return connection
  }
  return {
    did,
    instance,
    record,
    platform,
    client,
    start: async () => (await launch(configuration, record.log, platform)).unref(),
  }
}

test('the socket comes last, and then the daemon is ready', async (t) => {
  const { did, record, start } = setUp()
  const daemon = await start()
  t.deepEqual(did, ['begin lab', 'manage eth0 skb', 'manage eth1 skb', 'listen /run/xsknet/lab.sock'])
  t.like(daemon, { socket: '/run/xsknet/lab.sock', instance: 'lab', uplinks: ['eth0', 'eth1'] } as never)
  t.like(record.of('ready')[0], { socket: '/run/xsknet/lab.sock' })
  await daemon.close()
})

test('it goes in the other order: clients are told, the socket goes, then ports, cards and the instance', async (t) => {
  const { did, client, start } = setUp()
  const daemon = await start()
  const connection = await client()
  await connection.result('openPort', { port: { uplink: 'eth0', addresses: ['192.0.2.10'] } })
  did.length = 0
  await daemon.close()
  t.deepEqual(did, ['unlisten', 'closePort 1', 'release eth0', 'release eth1', 'close'])
  t.like(connection.events, [{ event: 'portLost', port: 1, error: { code: 'ERR_XSKNET_PORT_LOST' } }] as never)
  t.true(connection.closed)
})

test('close is one, however often it is called, and `closed` settles with it', async (t) => {
  const { did, start } = setUp()
  const daemon = await start()
  t.is(daemon.close(), daemon.close())
  await daemon.closed
  t.is(did.filter((did) => did === 'close').length, 1)
})

test('what could not be undone is told by close and by `closed`', async (t) => {
  const { instance, start } = setUp()
  const daemon = await start()
  instance.failures.set('close', refusal('ERR_XSKNET_KERNEL_REFUSED'))
  await t.throwsAsync(daemon.close(), { instanceOf: XsknetError })
  await t.throwsAsync(daemon.closed, { instanceOf: XsknetError })
})

test('an uplink that is refused undoes the others', async (t) => {
  const { did, instance, start } = setUp()
  const manage = instance.manage.bind(instance)
  instance.manage = async (uplink, mode) => {
    if (uplink === 'eth1') throw refusal('ERR_XSKNET_DEVICE_MISSING')
    return manage(uplink, mode)
  }
  const error = await t.throwsAsync(start(), { instanceOf: XsknetError })
  t.is(error?.code, 'ERR_XSKNET_DEVICE_MISSING')
  t.deepEqual(did.slice(-2), ['release eth0', 'close'])
})

test('a socket that is refused undoes everything, and its own error is the one that is told', async (t) => {
  const { did, instance, platform, record, start } = setUp()
  platform.refuses = refusal('ERR_XSKNET_INSTANCE_RUNNING')
  instance.failures.set('close', new Error('and this too'))
  const error = await t.throwsAsync(start(), { instanceOf: XsknetError })
  t.is(error?.code, 'ERR_XSKNET_INSTANCE_RUNNING')
  t.deepEqual(did.slice(-3), ['release eth0', 'release eth1', 'close'])
  t.like(record.of('undo-failed')[0], { message: 'and this too' })
})

test('a socket that cannot be closed keeps nothing from being undone', async (t) => {
  const { did, platform, record, start } = setUp()
  const listener = platform.listener()
  platform.listener = () => ({ ...listener, close: () => Promise.reject(new Error('busy')) })
  const daemon = await start()
  await daemon.close()
  t.is(did.at(-1), 'close')
  t.like(record.of('socket-close-failed')[0], { message: 'busy' })
})

test('a grant for an uplink that is not managed is told, since it is nearly always a slip', async (t) => {
  const { record, platform } = setUp()
  const grants = [grant({ uplinks: ['eth0', 'eht1'] })]
  await (await launch({ ...readConfiguration({ uplinks: ['eth0'] }), grants }, record.log, platform)).close()
  t.like(record.of('grant-without-uplink')[0], { uplinks: ['eht1'] })
})

test('the status of root shows clients and ports', async (t) => {
  const { client, start } = setUp()
  const daemon = await start()
  await client()
  t.like(await (await client(ROOT)).result('status'), { clients: 2, ports: 0, instance: 'lab' })
  await daemon.close()
})

test('without a name it gets a unique one, and its socket is for its user, unless others have a grant', async (t) => {
  const { did, record, platform } = setUp()
  const bare = checkConfiguration({ uplinks: ['eth0'] })
  const daemon = await launch(bare, record.log, platform)
  t.like(daemon, { instance: 'embedded-1-0', socket: '/run/xsknet/embedded-1-0.sock' } as never)
  await daemon.close()
  await (await launch({ ...bare, grants: [grant()] }, record.log, platform)).close()
  await (await launch(checkConfiguration({ uplinks: ['eth0'], instance: 'a' }), record.log, platform)).close()
  await (await launch(checkConfiguration({ uplinks: ['eth0'], socket: '/tmp/own.sock' }), record.log, platform)).close()
  t.deepEqual(
    did.filter((did) => did.startsWith('listen')),
    [
      'listen /run/xsknet/embedded-1-0.sock for its user',
      'listen /run/xsknet/embedded-1-0.sock',
      'listen /run/xsknet/a.sock',
      'listen /tmp/own.sock for its user',
    ],
  )
})

test('leftovers of dead instances are reported, and those that cannot be undone do not prevent a start', async (t) => {
  const { platform, record, start } = setUp()
  platform.dead = [{ instance: 'embedded-2-0' }, { instance: 'embedded-3-0', failure: 'it is busy' }]
  await (await start()).close()
  t.deepEqual(record.of('instance-swept'), [{ instance: 'embedded-2-0' }])
  t.deepEqual(record.of('sweep-failed'), [{ instance: 'embedded-3-0', message: 'it is busy' }])
})

test.serial(
  'an exit closes what is open, at once and the socket first, and nothing that was closed before',
  async (t) => {
    const listeners = process.listenerCount('exit')
    const { did, record, platform, start } = setUp()
    await (await start()).close()
    platform.refuses = refusal('ERR_XSKNET_INSTANCE_RUNNING')
    await t.throwsAsync(start())
    t.is(process.listenerCount('exit'), listeners)

    delete platform.refuses
    const open = [await start(), await start()]
    t.is(process.listenerCount('exit'), listeners + 1)
    did.length = 0
    const [undoAll] = process.listeners('exit').slice(-1) as [() => void]
    undoAll()
    t.deepEqual(did, ['unlistenNow', 'closeNow', 'unlistenNow', 'closeNow'])
    for (const daemon of open) await daemon.close()
    t.is(process.listenerCount('exit'), listeners)
    t.deepEqual(record.of('undo-failed').length, 0)
  },
)

test('grants are replaced: open ports stay, and the socket is created anew if other users may connect', async (t) => {
  const { did, record, platform, client, start } = setUp()
  const daemon = await start()
  const alice = await client()
  await alice.result('openPort', { port: { uplink: 'eth0', addresses: ['192.0.2.10'] } })
  const bob = await client(BOB)
  t.is(
    await bob.refusal('openPort', { port: { uplink: 'eth0', addresses: ['192.0.2.11'] } }),
    'ERR_XSKNET_NOT_PERMITTED',
  )
  did.length = 0

  await replaceGrants(daemon, [grant({ holder: { uid: BOB.uid }, uplinks: ['eth0', 'eth9'] })])
  t.deepEqual(did, ['unlisten', 'listen /run/xsknet/lab.sock'])
  t.deepEqual(platform.trusted, [BOB.uid])
  t.deepEqual(record.of('grant-without-uplink').at(-1), { grant: 'the 1st [[grant]] of test.toml', uplinks: ['eth9'] })
  await bob.result('openPort', { port: { uplink: 'eth0', addresses: ['192.0.2.11'] } })
  t.is(
    await alice.refusal('openPort', { port: { uplink: 'eth0', addresses: ['192.0.2.12'] } }),
    'ERR_XSKNET_NOT_PERMITTED',
  )
  t.deepEqual(alice.events, [])
  t.false(alice.closed)

  did.length = 0
  await replaceGrants(daemon, [grant({ holder: { uid: BOB.uid }, ports: 7 })])
  t.deepEqual(did, [], 'nobody else may come')
  await daemon.close()
  t.is(did[0], 'unlisten')
  did.length = 0
  await replaceGrants(daemon, [grant()])
  t.deepEqual(did, [])
})

test('a configuration is read again: an invalid one changes nothing, and what needs a restart is logged', async (t) => {
  const { did, record, platform, client, start } = setUp()
  const daemon = await start()
  const begun = { ...readConfiguration({ uplinks: ['eth0', 'eth1'], instance: 'lab', mode: 'skb' }), grants: [grant()] }
  const configurations: (Configuration | XsknetError)[] = []
  const read = () => {
    const next = configurations.shift()
    if (next instanceof XsknetError) throw next
    return next as Configuration
  }
  const reload = reloader(Promise.resolve(daemon), begun, read, record.log)

  configurations.push(refusal('ERR_XSKNET_CONFIGURATION_INVALID', 'x.toml:3: `daemon.mode`: wrong'))
  await reload()
  t.like(record.of('reload-refused')[0], {
    code: 'ERR_XSKNET_CONFIGURATION_INVALID',
    message: 'x.toml:3: `daemon.mode`: wrong',
  })
  const alice = await client()
  await alice.result('openPort', { port: { uplink: 'eth0', addresses: ['192.0.2.10'] } })

  configurations.push({ ...begun, grants: [], uplinks: ['eth0'], mode: 'native' }, { ...begun })
  await Promise.all([reload(), reload()])
  t.deepEqual(record.of('reloaded'), [{ grants: 0, atNextStart: ['uplinks', 'mode'] }, { grants: 1 }])
  t.deepEqual(platform.trusted, [ALICE.uid])

  platform.refuses = refusal('ERR_XSKNET_KERNEL_REFUSED')
  configurations.push({ ...begun, grants: [] })
  await reload()
  t.like(record.of('reload-failed')[0], { code: 'ERR_XSKNET_KERNEL_REFUSED' })
  platform.refuses = undefined
  configurations.push({ ...begun, grants: [] })
  did.length = 0
  await reload()
  t.deepEqual(did, ['unlisten', 'listen /run/xsknet/lab.sock'], 'the next one tries again')

  await reloader(Promise.resolve(daemon), begun, undefined, record.log)()
  t.regex(String(record.of('reload-refused')[1]?.message), /without a configuration file/)
  await daemon.close()
})
