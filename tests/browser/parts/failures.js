// A reporter for the runner: one line a test that failed, its name and its file with a tab between.

export default async function* failures(events) {
  for await (const { type, data } of events) {
    // A suite fails with its tests.
    if (type === "test:fail" && data.details?.type !== "suite") yield `${data.name}\t${data.file}\n`;
  }
}
