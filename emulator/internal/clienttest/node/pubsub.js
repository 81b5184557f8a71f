// The Node client @google-cloud/pubsub against the emulator that PUBSUB_EMULATOR_HOST names.
'use strict';

const assert = require('node:assert/strict');
const http = require('node:http');
const test = require('node:test');
const {Encodings, PubSub, SchemaTypes} = require('@google-cloud/pubsub');

const pubsub = new PubSub({projectId: 'shop'});
test.after(() => pubsub.close());

const NOT_FOUND = 5;
const ALREADY_EXISTS = 6;

function refused(call, code) {
  return assert.rejects(call, err => {
    assert.equal(err.code, code, String(err));
    return true;
  });
}

// receive streams from a subscription until handle has returned true for a message.
async function receive(subscription, handle) {
  await new Promise((resolve, reject) => {
    subscription.on('error', reject);
    subscription.on('message', message => {
      try {
        if (handle(message)) {
          resolve();
        }
      } catch (err) {
        reject(err);
      }
    });
  });
  await subscription.close();
}

test('topics and subscriptions', async () => {
  const [topic] = await pubsub.createTopic({name: 'admin', labels: {a: 'b'}});
  await refused(pubsub.createTopic('admin'), ALREADY_EXISTS);
  assert.equal((await topic.getMetadata())[0].labels.a, 'b');
  assert.deepEqual(await topic.exists(), [true]);
  await topic.setMetadata({labels: {c: 'd'}});
  assert.deepEqual((await topic.getMetadata())[0].labels, {c: 'd'});
  const [subscription] = await topic.createSubscription('admin', {ackDeadlineSeconds: 30, filter: 'attributes:k', retryPolicy: {minimumBackoff: {seconds: 1}}});
  await subscription.setMetadata({ackDeadlineSeconds: 40});
  const [metadata] = await subscription.getMetadata();
  assert.equal(metadata.ackDeadlineSeconds, 40);
  assert.equal(metadata.filter, 'attributes:k');
  assert.equal(metadata.topic, topic.name);
  assert.ok((await pubsub.getTopics())[0].some(t => t.name === topic.name));
  assert.ok((await pubsub.getSubscriptions())[0].some(s => s.name === subscription.name));
  assert.equal((await topic.getSubscriptions())[0][0].name, subscription.name);
  await pubsub.detachSubscription('admin');
  assert.deepEqual(await subscription.detached(), [true]);
  await subscription.delete();
  await topic.delete();
  await refused(topic.getMetadata(), NOT_FOUND);
});

test('publish and receive by streaming pull', async () => {
  const [topic] = await pubsub.createTopic('orders');
  const [subscription] = await topic.createSubscription('mailer', {flowControl: {maxMessages: 10}});
  const count = 200;
  const want = new Set();
  const ids = await Promise.all(Array.from({length: count}, (_, i) => topic.publishMessage({data: Buffer.from(`message ${i}`), attributes: {i: String(i)}})));
  ids.forEach(id => want.add(id));
  assert.equal(want.size, count);
  const nacked = new Set();
  await receive(subscription, message => {
    assert.equal(message.data.toString(), `message ${message.attributes.i}`);
    if (nacked.size < 5 && !nacked.has(message.id)) {
      nacked.add(message.id);
      message.nack();
      return false;
    }
    message.ack();
    want.delete(message.id);
    return want.size === 0;
  });
});

for (const exactlyOnce of [false, true]) {
  test(`ordering keys${exactlyOnce ? ', exactly once' : ''}`, async () => {
    const name = exactlyOnce ? 'ordered-once' : 'ordered';
    await pubsub.createTopic(name);
    const topic = pubsub.topic(name, {messageOrdering: true});
    const [subscription] = await topic.createSubscription(name, {enableMessageOrdering: true, enableExactlyOnceDelivery: exactlyOnce});
    const count = 20;
    const keys = ['a', 'b', 'c'];
    await Promise.all(keys.flatMap(orderingKey => Array.from({length: count}, (_, i) => topic.publishMessage({data: Buffer.from(String(i)), orderingKey}))));
    const got = {a: [], b: [], c: []};
    await receive(subscription, message => {
      got[message.orderingKey].push(Number(message.data));
      if (exactlyOnce) {
        message.ackWithResponse().catch(err => assert.fail(err));
      } else {
        message.ack();
      }
      return keys.every(key => got[key].length === count);
    });
    keys.forEach(key => assert.deepEqual(got[key], Array.from({length: count}, (_, i) => i)));
  });
}

test('push, signed', async () => {
  const server = http.createServer();
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  const arrived = new Promise(resolve => {
    server.on('request', async (request, response) => {
      const chunks = [];
      for await (const chunk of request) {
        chunks.push(chunk);
      }
      response.writeHead(204).end();
      resolve({headers: request.headers, body: JSON.parse(Buffer.concat(chunks))});
    });
  });
  const [topic] = await pubsub.createTopic('pushed');
  const [subscription] = await topic.createSubscription('pushed', {
    pushConfig: {pushEndpoint: 'http://127.0.0.1:1/', oidcToken: {serviceAccountEmail: 'login@shop.iam.gserviceaccount.com'}},
  });
  await subscription.modifyPushConfig({
    pushEndpoint: `http://127.0.0.1:${server.address().port}/push`,
    oidcToken: {serviceAccountEmail: 'login@shop.iam.gserviceaccount.com', audience: 'https://mailer.test'},
  });
  const id = await topic.publishMessage({json: {to: 'ada'}});
  const got = await arrived;
  server.closeAllConnections();
  server.close();
  assert.match(got.headers.authorization, /^Bearer ey/);
  assert.equal(got.body.message.messageId, id);
  assert.equal(got.body.subscription, subscription.name);
  assert.deepEqual(JSON.parse(Buffer.from(got.body.message.data, 'base64')), {to: 'ada'});
});

test('snapshots and seek', async () => {
  const [topic] = await pubsub.createTopic('replayed');
  const [subscription] = await topic.createSubscription('replayed', {retainAckedMessages: true});
  const id = await topic.publishMessage({data: Buffer.from('again')});
  const [snapshot] = await subscription.createSnapshot('before');
  await receive(pubsub.subscription('replayed'), message => {
    message.ack();
    return message.id === id;
  });
  await subscription.seek('before');
  await receive(pubsub.subscription('replayed'), message => {
    message.ack();
    return message.id === id;
  });
  await subscription.seek(new Date(0));
  await receive(pubsub.subscription('replayed'), message => {
    message.ack();
    return message.id === id;
  });
  await snapshot.delete();
});

test('a schema', async () => {
  const definition = JSON.stringify({type: 'record', name: 'Order', fields: [{name: 'id', type: 'string'}]});
  await pubsub.createSchema('order', SchemaTypes.Avro, definition);
  const got = await pubsub.schema('order').get();
  assert.equal(got.type, 'AVRO');
  assert.equal(got.definition, definition);
  assert.ok(got.revisionId);
  await pubsub.validateSchema({type: SchemaTypes.Avro, definition});
  const [topic] = await pubsub.createTopic({name: 'checked', schemaSettings: {schema: got.name, encoding: Encodings.Json}});
  const [subscription] = await topic.createSubscription('checked');
  await topic.publishMessage({data: Buffer.from('{"id":"1"}')});
  await assert.rejects(topic.publishMessage({data: Buffer.from('{"id":1}')}));
  await receive(subscription, message => {
    message.ack();
    assert.equal(message.attributes.googclient_schemaencoding, 'JSON');
    assert.equal(message.attributes.googclient_schemarevisionid, got.revisionId);
    assert.equal(message.data.toString(), '{"id":"1"}');
    return true;
  });
  const schemas = [];
  for await (const schema of pubsub.listSchemas()) {
    schemas.push(schema.name);
  }
  assert.deepEqual(schemas, [got.name]);
  await pubsub.schema('order').delete();
});
