/* Stands in for a no-op DRM device while noop_worker is linked: what counts is its name. At run time
 * LD_LIBRARY_PATH leads to one that scripts/host-drivers made. */
extern int noop_device_link_name;
int noop_device_link_name;
