/* future.c: a plugin of another major of the contract. */
int temper_plugin_v2(void *hello, void **plugin);

__attribute__((visibility("default"))) int temper_plugin_v2(void *hello, void **plugin) {
    (void)hello, (void)plugin;
    return 0;
}
