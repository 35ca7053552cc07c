// Makes pg-boss's tables, in the database that libpq's environment names.
const PgBoss = require("pg-boss");

async function main() {
  const boss = new PgBoss({ supervise: false, schedule: false });
  boss.on("error", (error) => { throw error; });
  await boss.start();
  await boss.createQueue("letters");
  await boss.stop({ graceful: false, wait: true });
}

main();
