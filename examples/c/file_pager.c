/* A file as memory, served by this program page by page.

     file_pager FILE            print the file, read through the mapping
     file_pager FILE TEXT       write TEXT at the start of the file, through the mapping

   Reading a page that the disk cannot give ends in an error message, not in a crash.  */

#define _GNU_SOURCE
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mach.h>
#include <hurd/ports.h>
#include <hurd/pager.h>

struct user_pager_info
{
  int file;
  off_t size;
};

/* Read or write all of LENGTH bytes; fewer only at the end of the file.  */
static error_t
transfer (int file, int writes, char *buf, size_t length, off_t offset)
{
  while (length > 0)
    {
      ssize_t done = writes ? pwrite (file, buf, length, offset) : pread (file, buf, length, offset);
      if (done < 0 && errno != EINTR)
        return errno;
      if (done == 0)
        return writes ? EIO : 0;
      if (done > 0)
        {
          buf += done;
          length -= done;
          offset += done;
        }
    }
  return 0;
}

/* How many bytes of the page at PAGE lie in the file.  */
static size_t
inside (struct user_pager_info *upi, vm_offset_t page)
{
  vm_size_t left = upi->size - page;
  return left < vm_page_size ? left : vm_page_size;
}

error_t
pager_read_page (struct user_pager_info *upi, vm_offset_t page, vm_address_t *buf, int *write_lock)
{
  error_t err;
  void *memory = mmap (NULL, vm_page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return EIO;
  err = transfer (upi->file, 0, memory, inside (upi, page), page);
  if (err)
    {
      munmap (memory, vm_page_size);
      return err;
    }
  *buf = (vm_address_t) memory;
  *write_lock = 0;
  return 0;
}

error_t
pager_write_page (struct user_pager_info *upi, vm_offset_t page, vm_address_t buf)
{
  return transfer (upi->file, 1, (char *) buf, inside (upi, page), page);
}

error_t
pager_unlock_page (struct user_pager_info *upi, vm_offset_t address)
{
  (void) upi;
  (void) address;
  return 0;
}

void
pager_notify_evict (struct user_pager_info *upi, vm_offset_t page)
{
  (void) upi;
  (void) page;
}

error_t
pager_report_extent (struct user_pager_info *upi, vm_address_t *offset, vm_size_t *size)
{
  *offset = 0;
  *size = upi->size;
  return 0;
}

void
pager_clear_user_data (struct user_pager_info *upi)
{
  close (upi->file);
}

void
pager_dropweak (struct user_pager_info *upi)
{
  (void) upi;
}

static sigjmp_buf bad_page;

static void
on_bus_error (int sig)
{
  (void) sig;
  siglongjmp (bad_page, 1);
}

/* Map the whole object of PAGER.  */
static char *
map (struct pager *pager, vm_size_t size)
{
  vm_address_t address = 0;
  mach_port_t port = pager_get_port (pager);
  kern_return_t err;

  mach_port_insert_right (mach_task_self (), port, port, MACH_MSG_TYPE_MAKE_SEND);
  err = vm_map (mach_task_self (), &address, size, 0, 1, port, 0, 0,
                VM_PROT_READ | VM_PROT_WRITE, VM_PROT_READ | VM_PROT_WRITE, VM_INHERIT_NONE);
  mach_port_deallocate (mach_task_self (), port);
  if (err)
    error (1, 0, "cannot map the file: Mach error %d", err);
  return (char *) address;
}

int
main (int argc, char **argv)
{
  struct port_bucket *bucket = ports_create_bucket ();
  struct pager_requests *requests;
  struct user_pager_info *upi;
  struct pager *pager;
  struct stat stat;
  char *memory;
  error_t err;
  int file;

  if (argc < 2)
    error (2, 0, "usage: file_pager FILE [TEXT]");
  file = open (argv[1], O_RDWR);
  if (file < 0 || fstat (file, &stat) < 0)
    error (1, errno, "%s", argv[1]);

  err = pager_start_workers (bucket, &requests);
  if (err)
    error (1, err, "cannot start the workers");
  pager = pager_create_alloc (sizeof *upi, bucket, 0, MEMORY_OBJECT_COPY_NONE, 0);
  if (pager == NULL)
    error (1, errno, "cannot make a pager");
  upi = pager_get_upi (pager);
  upi->file = file;
  upi->size = stat.st_size;

  memory = map (pager, stat.st_size);
  signal (SIGBUS, on_bus_error);
  if (sigsetjmp (bad_page, 1))
    error (1, EIO, "%s", argv[1]);
  if (argc == 2)
    fwrite (memory, 1, stat.st_size, stdout);
  else
    {
      size_t length = strlen (argv[2]);
      memcpy (memory, argv[2], length < (size_t) stat.st_size ? length : (size_t) stat.st_size);
      errno = 0;
      pager_sync (pager, 1);
      if (errno)
        error (1, errno, "%s: not everything was written", argv[1]);
    }

  vm_deallocate (mach_task_self (), (vm_address_t) memory, stat.st_size);
  pager_shutdown (pager);
  ports_port_deref (pager);
  return 0;
}
