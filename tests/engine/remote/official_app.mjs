// Handlers written with the official TypeScript SDK, served over HTTP/2.
import * as restate from "@restatedev/restate-sdk";

// The SDK uses this, which came with Node.js 22; without it requests stay without an answer on older ones.
Promise.withResolvers ??= function () {
  const found = {};
  found.promise = new this((resolve, reject) => Object.assign(found, { resolve, reject }));
  return found;
};

const shop = restate.service({
  name: "NodeShop",
  handlers: {
    greet: async (ctx, name) => {
      const greeting = await ctx.run("greet", () => `Hello ${name}`);
      await ctx.sleep(1);
      return greeting;
    },
    refuse: async (ctx, name) => {
      throw new restate.TerminalError(`no, ${name}`, { errorCode: 418 });
    },
    fill: async (ctx, items) => {
      let found = [];
      for (const item of items) {
        found = await ctx.objectClient({ name: "NodeCart" }, "basket").add(item);
      }
      return found;
    },
    both: async (ctx, names) => {
      const steps = names.map((name) => ctx.run(name, async () => name.toUpperCase()));
      return await restate.RestatePromise.all(steps);
    },
    wait: async (ctx, key) => {
      const { id, promise } = ctx.awakeable();
      ctx.objectSendClient({ name: "NodeCart" }, key).keep(id);
      return await promise;
    },
  },
});

const cart = restate.object({
  name: "NodeCart",
  handlers: {
    add: async (ctx, item) => {
      const items = [...((await ctx.get("items")) ?? []), item];
      ctx.set("items", items);
      return items;
    },
    keep: async (ctx, id) => ctx.set("name", id),
    kept: restate.handlers.object.shared(async (ctx) => (await ctx.get("name")) ?? ""),
  },
});

restate.serve({ services: [shop, cart], port: Number(process.argv[2]) });
