// The Node client @google-cloud/tasks against the emulator, over gRPC or, with TRANSPORT=rest, by its REST fallback.
'use strict';

const assert = require('node:assert/strict');
const http = require('node:http');
const test = require('node:test');
const {CloudTasksClient} = require('@google-cloud/tasks');
const {grpc} = require('google-gax');

const project = 'shop';
const rest = process.env.TRANSPORT === 'rest';
const [host, port] = process.env.CLOUD_TASKS_EMULATOR_HOST.split(':');

// Over REST the client insists on a token: it gets one from the emulator's metadata server, which GCE_METADATA_HOST names.
const client = new CloudTasksClient({
  apiEndpoint: host,
  port: Number(port),
  projectId: project,
  ...(rest ? {fallback: 'rest', protocol: 'http'} : {sslCreds: grpc.credentials.createInsecure()}),
});
test.after(() => client.close());

const location = client.locationPath(project, 'us-central1');
const queue = client.queuePath(project, 'us-central1', 'mails');
const tomorrow = () => ({seconds: Math.floor(Date.now() / 1000) + 86_400});

// receive runs f with the URL of a server, and returns the first request that it gets.
async function receive(f) {
  const server = http.createServer();
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  const arrived = new Promise(resolve => {
    server.on('request', (request, response) => {
      const chunks = [];
      request.on('data', chunk => chunks.push(chunk));
      request.on('end', () => {
        response.writeHead(204).end();
        resolve({method: request.method, path: request.url, headers: request.headers, body: Buffer.concat(chunks).toString()});
      });
    });
  });
  await f(`http://127.0.0.1:${server.address().port}`);
  const got = await arrived;
  server.closeAllConnections();
  server.close();
  return got;
}

// The client shows the canonical code of gRPC, or the status of HTTP.
const INVALID_ARGUMENT = rest ? 400 : 3;
const NOT_FOUND = rest ? 404 : 5;
const ALREADY_EXISTS = rest ? 409 : 6;

function refused(call, code) {
  return assert.rejects(call, err => {
    assert.equal(err.code, code, String(err));
    return true;
  });
}

test('queues', async t => {
  await t.test('create', async () => {
    const [got] = await client.createQueue({parent: location, queue: {
      name: queue,
      rateLimits: {maxDispatchesPerSecond: 0.5, maxConcurrentDispatches: 7},
      retryConfig: {maxAttempts: -1, minBackoff: {seconds: 1, nanos: 500_000_000}},
    }});
    assert.equal(got.name, queue);
    assert.equal(got.state, 'RUNNING');
    assert.equal(got.rateLimits.maxDispatchesPerSecond, 0.5);
    assert.equal(got.retryConfig.maxAttempts, -1);
    assert.equal(Number(got.retryConfig.minBackoff.seconds), 1);
    assert.equal(got.retryConfig.minBackoff.nanos, 500_000_000);
    await refused(client.createQueue({parent: location, queue: {name: queue}}), ALREADY_EXISTS);
  });
  await t.test('update by mask', async () => {
    const [got] = await client.updateQueue({
      queue: {name: queue, retryConfig: {maxAttempts: 3}, rateLimits: {maxConcurrentDispatches: 99}},
      updateMask: {paths: ['retry_config.max_attempts']},
    });
    assert.equal(got.retryConfig.maxAttempts, 3);
    assert.equal(got.rateLimits.maxConcurrentDispatches, 7);
  });
  await t.test('pause, purge and resume', async () => {
    assert.equal((await client.pauseQueue({name: queue}))[0].state, 'PAUSED');
    assert.equal((await client.purgeQueue({name: queue}))[0].state, 'PAUSED');
    assert.equal((await client.resumeQueue({name: queue}))[0].state, 'RUNNING');
  });
  await t.test('list in pages', async () => {
    const names = [];
    for (let i = 0; i < 5; i++) {
      names.push((await client.createQueue({parent: location, queue: {name: `${location}/queues/q${i}`}}))[0].name);
    }
    const got = [];
    for await (const q of client.listQueuesAsync({parent: location, pageSize: 2})) {
      got.push(q.name);
    }
    assert.deepEqual(got, [queue, ...names].sort());
  });
  await t.test('delete', async () => {
    await client.deleteQueue({name: queue});
    await refused(client.getQueue({name: queue}), NOT_FOUND);
  });
});

test('policies', async () => {
  const resource = client.queuePath(project, 'us-central1', 'guarded');
  await client.createQueue({parent: location, queue: {name: resource}});
  const [policy] = await client.getIamPolicy({resource});
  policy.bindings = [{role: 'roles/cloudtasks.enqueuer', members: ['user:ada@shop.test']}];
  await client.setIamPolicy({resource, policy});
  assert.deepEqual((await client.getIamPolicy({resource}))[0].bindings[0].members, ['user:ada@shop.test']);
  const permissions = ['cloudtasks.tasks.create'];
  assert.deepEqual((await client.testIamPermissions({resource, permissions}))[0].permissions, permissions);
});

test('tasks', async t => {
  const parent = client.queuePath(project, 'us-central1', 'parcels');
  await client.createQueue({parent: location, queue: {name: parent}});
  const name = `${parent}/tasks/one`;

  await t.test('create, get, run', async () => {
    const got = await receive(async url => {
      const [created] = await client.createTask({parent, responseView: 'FULL', task: {
        name,
        scheduleTime: tomorrow(),
        httpRequest: {
          url: `${url}/send?x=1`, httpMethod: 'PUT', headers: {'Content-Type': 'text/plain'}, body: Buffer.from('hi').toString('base64'),
          oidcToken: {serviceAccountEmail: 'login@shop.iam.gserviceaccount.com', audience: 'https://mailer.test'},
        },
      }});
      assert.equal(created.name, name);
      assert.equal(created.view, 'FULL');
      assert.equal(Buffer.from(created.httpRequest.body, 'base64').toString(), 'hi');
      const [basic] = await client.getTask({name});
      assert.equal(basic.view, 'BASIC');
      assert.equal(basic.httpRequest.body.length, 0);
      await client.runTask({name});
    });
    assert.equal(got.method, 'PUT');
    assert.equal(got.path, '/send?x=1');
    assert.equal(got.body, 'hi');
    assert.equal(got.headers['x-cloudtasks-taskname'], 'one');
    assert.match(got.headers.authorization, /^Bearer ey/);
  });
  await t.test('list and delete', async () => {
    const names = [];
    for (let i = 0; i < 3; i++) {
      const task = {name: `${parent}/tasks/t${i}`, scheduleTime: tomorrow(), httpRequest: {url: 'https://mailer.test/'}};
      names.push((await client.createTask({parent, task}))[0].name);
    }
    await client.deleteTask({name: names[0]});
    const got = [];
    for await (const task of client.listTasksAsync({parent, pageSize: 1})) {
      got.push(task.name);
    }
    assert.deepEqual(got.filter(n => n !== name), names.slice(1)); // the first may be deleted a moment after its answer
  });
  await t.test('refusals', async () => {
    const task = {httpRequest: {url: 'https://mailer.test/'}};
    await refused(client.createTask({parent: `${location}/queues/none`, task}), NOT_FOUND);
    await refused(client.createTask({parent, task: {}}), INVALID_ARGUMENT);
    await refused(client.createTask({parent, task: {httpRequest: {url: 'ftp://mailer.test/'}}}), INVALID_ARGUMENT);
  });
});

test('an App Engine task', async () => {
  const parent = client.queuePath(project, 'us-central1', 'engine');
  await client.createQueue({parent: location, queue: {name: parent}});
  const [got] = await client.createTask({parent, task: {
    appEngineHttpRequest: {relativeUri: '/work', body: Buffer.from('hi').toString('base64'), appEngineRouting: {service: 'mailer'}},
  }});
  assert.equal(got.appEngineHttpRequest.relativeUri, '/work');
  assert.equal(got.appEngineHttpRequest.appEngineRouting.service, 'mailer');
});

// Over REST this client asks for /v1/projects/P/locations, which Cloud Tasks does not have: its paths begin with /v2.
test('locations', {skip: rest && 'the client asks for a path that Cloud Tasks does not have'}, async () => {
  const got = [];
  for await (const l of client.listLocationsAsync({name: `projects/${project}`})) {
    got.push(l.locationId);
  }
  assert.ok(got.includes('us-central1'), String(got));
});
